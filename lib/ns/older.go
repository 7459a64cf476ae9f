package ns

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"staves/lib/entry"
)

// Older finds a mount namespace that cannot be kept. Linux binds one only where its number
// is higher than that of the namespace it is bound in (mnt_ns_loop in fs/namespace.c): a
// mount namespace must not be seen within itself. Since Linux 6.18 each processor has a
// range of such numbers of its own, so that a namespace made later, on another processor,
// may have a lower number; the bind fails with EINVAL then.
type Older struct{ read, write entry.Reg }

// processors is how many of them are tried.
const processors = 64

// WatchOlder is written before the helper is parked that is asked afterwards.
func WatchOlder(b *entry.Builder) (o Older) {
	o.read, o.write = b.Messages("pipe")
	return o
}

// Renew makes the new mount namespace that the process is in anew, on one processor after
// the other, until it is newer than the helper's: on the processor where that was made it
// always is, whether or not the process otherwise runs there.
func (o Older) Renew(b *entry.Builder, h *entry.Helper) {
	const what = "make a mount namespace that can be kept"
	var one unix.CPUSet
	size := unsafe.Sizeof(one)
	before := &entry.Buffer{Size: int(size)} // as it is then: Go may start with another one
	again := func() { b.Do(what, unix.SYS_WRITE, o.write, "!", 1) }
	ask := func() {
		b.Outside(h, what, func() {
			// No file can be mounted on a directory, but that comes up later.
			var result entry.Reg
			b.If(what, entry.AnyError, func(r entry.Reg) { result = r }, nil,
				unix.SYS_MOUNT, b.Format("/proc/", h.Target, "/ns/mnt"), "/", 0, unix.MS_BIND, 0)
			b.IfEqual(what, result, -int(unix.EINVAL), ^uintptr(0), again, func() {})
			b.Forget(result)
		})
	}
	ask()
	// More processors than a CPUSet has room for: the first namespace it is.
	b.If(what, unix.EINVAL, func(got entry.Reg) {
		for cpu := range processors {
			one.Zero()
			one.Set(cpu)
			b.If(what, unix.EAGAIN, func(told entry.Reg) {
				b.If(what, entry.AnyError, func(set entry.Reg) {
					Unshare(b, unix.CLONE_NEWNS)
					b.Do(what, unix.SYS_SCHED_SETAFFINITY, 0, size, before)
					ask()
					b.Forget(set)
				}, again, unix.SYS_SCHED_SETAFFINITY, 0, size, entry.Struct(&one)) // EINVAL: there is none such for this process
				b.Forget(told)
			}, nil, unix.SYS_READ, o.read, &entry.Buffer{Size: 8}, 1)
		}
		b.Forget(got)
	}, nil, unix.SYS_SCHED_GETAFFINITY, 0, size, before)
	b.Close(o.read)
	b.Close(o.write)
}
