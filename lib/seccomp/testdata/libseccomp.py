"""Compiles a profile with libseccomp, as Docker or Podman and then runc do.

Standard input is an object: the profile, and the machine (arch, kernel, caps). Standard
output is one: the filter in hexadecimal, the names that libseccomp does not know, for each
architecture that the profile names the highest number of its rules, and the profile as
runc is given it.
"""

import ctypes
import json
import os
import sys
import tempfile

import seccomp

lib = ctypes.CDLL("libseccomp.so.2")
work = json.load(sys.stdin)
profile, machine = work["profile"], work["machine"]
native = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}[machine["arch"]]
tokens = {"X86_64": seccomp.Arch.X86_64, "X86": seccomp.Arch.X86, "X32": seccomp.Arch.X32,
          "AARCH64": seccomp.Arch.AARCH64, "ARM": seccomp.Arch.ARM}


def token(name):
    return tokens.get(name.removeprefix("SCMP_ARCH_"))


def version(text):
    return [int(n) for n in text.split(".")]


def counts(rule):
    """Whether a rule counts on the machine."""
    inc, exc = rule.get("includes") or {}, rule.get("excludes") or {}
    if machine["arch"] in (exc.get("arches") or []) or set(exc.get("caps") or []) & set(machine["caps"]):
        return False
    if exc.get("minKernel") and version(machine["kernel"]) >= version(exc["minKernel"]):
        return False
    if inc.get("arches") and machine["arch"] not in inc["arches"]:
        return False
    if set(inc.get("caps") or []) - set(machine["caps"]):
        return False
    return not inc.get("minKernel") or version(machine["kernel"]) >= version(inc["minKernel"])


def action(name, number):
    number = 1 if number is None else number
    return {
        "SCMP_ACT_ALLOW": seccomp.ALLOW, "SCMP_ACT_LOG": seccomp.LOG, "SCMP_ACT_TRAP": seccomp.TRAP,
        "SCMP_ACT_KILL": seccomp.KILL, "SCMP_ACT_KILL_THREAD": seccomp.KILL,
        "SCMP_ACT_KILL_PROCESS": seccomp.KILL_PROCESS,
        "SCMP_ACT_ERRNO": seccomp.ERRNO(number), "SCMP_ACT_TRACE": seccomp.TRACE(number),
    }[name]


def resolve(name, arch=None):
    if arch is None:
        return lib.seccomp_syscall_resolve_name(name.encode())
    return lib.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(arch), name.encode())


named = list(profile.get("architectures") or [])
for entry in profile.get("archMap") or []:
    if entry["architecture"] == native:
        named += [native] + (entry["subArchitectures"] or [])

default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
f = seccomp.SyscallFilter(default)
if machine["arch"] != "amd64":  # whatever this is run on
    f.remove_arch(seccomp.Arch.X86_64)
    f.add_arch(token(native))
for name in named:
    if token(name) is not None and not f.exist_arch(token(name)):
        f.add_arch(token(name))
rules = [r for r in profile.get("syscalls") or [] if counts(r)]
f.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2 if len(rules) > 32 else 1)

unknown, last = [], {}
for rule in rules:
    act = action(rule["action"], rule.get("errnoRet"))
    args = []
    for a in rule.get("args") or []:
        op = getattr(seccomp, a["op"].removeprefix("SCMP_CMP_"))
        args.append((a["index"], seccomp.Arg(a["index"], op, a["value"], a.get("valueTwo", 0))))
    groups = [[a for _, a in args]]
    if len({i for i, _ in args}) < len(args):
        groups = [[a] for _, a in args]
    for name in rule["names"]:
        if resolve(name) == -1:
            unknown.append(name)
            continue
        for arch in named:
            if token(arch) is not None:
                last[arch] = max(last.get(arch, 0), resolve(name, token(arch)))
        if act == default:
            continue
        for group in groups:
            f.add_rule(act, resolve(name), *group)

with tempfile.TemporaryFile() as out:
    f.export_bpf(out)
    out.seek(0)
    code = out.read().hex()
oci = {
    "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile.get("defaultErrnoRet"), "architectures": named,
    "syscalls": [{k: r[k] for k in ("names", "action", "errnoRet", "args") if r.get(k) is not None} for r in rules],
}
json.dump({"filter": code, "unknown": unknown, "last": last, "oci": oci}, sys.stdout)
