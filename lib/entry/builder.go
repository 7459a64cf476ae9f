package entry

import "golang.org/x/sys/unix"

// A Builder writes a program down call by call. The Go that uses it reads like the
// system calls themselves, but they are made later, perhaps before a Go runtime exists:
// so a result is a [Reg], and a condition on it is [Builder.If].
type Builder struct {
	ops  []Op
	free []Reg
	top  Reg
	log  Reg
}

// Ops returns what has been written.
func (b *Builder) Ops() []Op { return b.ops }

// Reset begins a new list of operations; what is kept stays kept.
func (b *Builder) Reset() { b.ops = nil }

// Add writes operations down.
func (b *Builder) Add(ops ...Op) { b.ops = append(b.ops, ops...) }

// Do makes a system call whose result does not matter. what names it in an error.
func (b *Builder) Do(what string, nr int, args ...any) {
	b.Add(Call{Label: what, Nr: uintptr(nr), Args: args, Log: b.log})
}

// Try makes a system call that may fail with one errno, or with [AnyError].
func (b *Builder) Try(what string, allow unix.Errno, nr int, args ...any) {
	b.Add(Call{Label: what, Nr: uintptr(nr), Args: args, Allow: allow, Log: b.log})
}

// Get makes a system call that returns a descriptor, which is kept until [Builder.Close].
func (b *Builder) Get(what string, nr int, args ...any) Reg {
	r := b.reg()
	b.Add(Call{Label: what, Nr: uintptr(nr), Args: args, Keep: r, Log: b.log})
	return r
}

// Again makes a system call whose result is kept in r, in place of what was there.
func (b *Builder) Again(r Reg, what string, nr int, args ...any) {
	b.Add(Call{Label: what, Nr: uintptr(nr), Args: args, Keep: r, Log: b.log})
}

// Close closes a kept descriptor.
func (b *Builder) Close(r Reg) {
	b.Try("close a descriptor", AnyError, unix.SYS_CLOSE, r)
	b.free = append(b.free, r)
}

// Forget gives up a kept result that is no descriptor.
func (b *Builder) Forget(r Reg) { b.free = append(b.free, r) }

// Log has the kernel's explanation of a failure read from the file system context in r,
// for the calls that follow; 0 ends that.
func (b *Builder) Log(r Reg) { b.log = r }

// If makes a system call that may fail with allow: then is written for its success, with
// the register that keeps its result, and otherwise for that failure; either may be nil.
// The descriptor stays kept.
func (b *Builder) If(what string, allow unix.Errno, then func(r Reg), otherwise func(), nr int, args ...any) {
	r := b.reg()
	at := len(b.ops)
	b.Add(nil) // the call: its skips are known when the blocks are written
	if then != nil {
		then(r)
	}
	call := Call{Label: what, Nr: uintptr(nr), Args: args, Keep: r, Allow: allow, Log: b.log}
	call.onErr = len(b.ops) - at - 1
	if otherwise != nil {
		out := len(b.ops)
		b.Add(nil) // a jump from the end of then
		call.onErr++
		otherwise()
		b.ops[out] = jump{len(b.ops) - out - 1}
	}
	b.ops[at] = call
}

// Check compares two words under mask, and fails with fail if they differ. An operand
// is a Field, a Reg or a number.
func (b *Builder) Check(what string, x, y any, mask uintptr, fail unix.Errno) {
	b.Add(check{what, x, y, mask, fail})
}

// WriteFile writes data to an existing file in one write(2), as a file of proc or
// cgroupfs wants it.
func (b *Builder) WriteFile(path, data string) {
	what := "write " + path
	fd := b.Get(what, unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	b.Do(what, unix.SYS_WRITE, fd, data, len(data))
	b.Close(fd)
}

func (b *Builder) reg() Reg {
	if n := len(b.free); n > 0 {
		r := b.free[n-1]
		b.free = b.free[:n-1]
		return r
	}
	b.top++
	if b.top >= maxRegs {
		panic("entry: a program keeps too many descriptors at once")
	}
	return b.top
}
