package entry

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A pseudo-terminal of the payload's own (pty(7)): the waiter holds its master, and
// copies between that and its standard input and output. It is a loop of raw system
// calls too: two buffers of a page each, where a Go process would take 2.5 MB.

// copying is the state of it.
type copying struct {
	size     uintptr // descriptor of the terminal whose size is followed, plus 1
	terminal bool    // standard input is a terminal
	raw      bool    // it is in raw mode
	ended    bool    // there is no more input
	taken    bool    // the pseudo-terminal is somebody's terminal: before, its keys are lost
	saved    termios // its settings
	to, from buffer  // the pseudo-terminal
}

// termios is the kernel's struct termios of amd64 and arm64.
type termios struct {
	input, output, control, local uint32
	line                          byte
	chars                         [19]byte
}

// A buffer holds what was read and not yet written: bytes[begin:end].
type buffer struct {
	begin, end uintptr
	last       byte // that was put in
	bytes      [4096]byte
}

//go:nosplit
//go:norace
func ioctl(f, request uintptr, p unsafe.Pointer) bool {
	return !isErr(sys(unix.SYS_IOCTL, f, request, uintptr(p), 0, 0, 0))
}

// startCopying gives the new terminal the settings and the size of the old one.
//
//go:nosplit
//go:norace
func startCopying() {
	c := &waiting.copying
	master := fd(slotMaster)
	if *heldAt(slotMaster) == 0 {
		return
	}
	hold(slotIn, 0)
	hold(slotOut, 1)
	// While one slave is open, to read the master is no error, whatever the payload does.
	if slave := sys(unix.SYS_IOCTL, master, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0, 0, 0); !isErr(slave) {
		hold(slotSlave, slave)
	}
	c.terminal = ioctl(0, unix.TCGETS, unsafe.Pointer(&c.saved))
	if c.terminal {
		ioctl(master, unix.TCSETS, unsafe.Pointer(&c.saved))
	} else if ioctl(master, unix.TCGETS, unsafe.Pointer(&scratch.termios)) {
		scratch.termios.local &^= unix.ECHO // nobody types
		ioctl(master, unix.TCSETS, unsafe.Pointer(&scratch.termios))
	}
	for f := uintptr(3); f > 0; f-- {
		if ioctl(f-1, unix.TIOCGWINSZ, unsafe.Pointer(&scratch.size)) {
			c.size = f
		}
	}
	if c.size == 0 {
		scratch.size = [4]uint16{24, 80}
		ioctl(master, unix.TIOCSWINSZ, unsafe.Pointer(&scratch.size))
	}
	followSize()
}

// followSize gives the pseudo-terminal the size that the terminal has; the kernel tells
// the payload by SIGWINCH, if it is another one than before.
//
//go:nosplit
//go:norace
func followSize() {
	if f := waiting.copying.size; f != 0 && ioctl(f-1, unix.TIOCGWINSZ, unsafe.Pointer(&scratch.size)) {
		ioctl(fd(slotMaster), unix.TIOCSWINSZ, unsafe.Pointer(&scratch.size))
	}
}

// typing tells whether the terminal's input is ours to read: the kernel refuses it to a
// group in the background.
//
//go:nosplit
//go:norace
func typing() bool {
	now := foreground(fd(slotIn))
	return now == 0 || now == int32(sys(unix.SYS_GETPGID, 0, 0, 0, 0, 0, 0))
}

// makeRaw has the terminal pass every key on as it is, for the pseudo-terminal to make
// something of it; or puts its settings back.
//
//go:nosplit
//go:norace
func makeRaw(raw bool) {
	c := &waiting.copying
	if !c.terminal || !raw && !c.raw || raw && !typing() {
		return
	}
	t := &scratch.termios
	*t = c.saved
	if raw { // cfmakeraw(3)
		t.input &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		t.output &^= unix.OPOST
		t.local &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		t.control = t.control&^(unix.CSIZE|unix.PARENB) | unix.CS8
		t.chars[unix.VMIN], t.chars[unix.VTIME] = 1, 0
	}
	c.raw = ioctl(fd(slotIn), unix.TCSETS, unsafe.Pointer(t)) && raw
}

// pollCopying asks poll for what can be copied now, and returns its patience.
//
//go:nosplit
//go:norace
func pollCopying() uintptr {
	in, master, out := &scratch.poll[3], &scratch.poll[4], &scratch.poll[5]
	*in, *master, *out = pollfd{fd: -1}, pollfd{fd: -1}, pollfd{fd: -1}
	if *heldAt(slotMaster) == 0 {
		return forever
	}
	c := &waiting.copying
	master.fd = int32(fd(slotMaster))
	c.taken = c.taken || foreground(fd(slotMaster)) != 0
	if c.to.end != 0 {
		master.events |= pollOut
	} else if c.taken && !c.ended && typing() {
		*in = pollfd{fd: int32(fd(slotIn)), events: pollIn}
	}
	if c.from.end != 0 {
		*out = pollfd{fd: int32(fd(slotOut)), events: pollOut}
	} else {
		master.events |= pollIn
	}
	if !c.taken {
		return 2e6 // nothing tells of that
	}
	return forever
}

// copyAll copies what poll has found.
//
//go:nosplit
//go:norace
func copyAll() {
	c := &waiting.copying
	in, master, out := scratch.poll[3].revents, scratch.poll[4].revents, scratch.poll[5].revents
	if in != 0 {
		switch r := c.to.fill(fd(slotIn)); {
		case r == 0:
			c.ended = true
			c.to.put(endOfInput)
			if c.to.last != '\n' { // the first one ends the line
				c.to.put(endOfInput)
			}
		case isErr(r) && r != failure(uintptr(unix.EAGAIN)) && r != failure(uintptr(unix.EINTR)):
			c.ended = true
		}
	}
	if master&pollOut != 0 {
		c.to.flush(fd(slotMaster))
	}
	if master&pollIn != 0 {
		c.from.fill(fd(slotMaster))
	}
	if out != 0 && isErr(c.from.flush(fd(slotOut))) {
		// Nobody reads any more: the payload's terminal hangs up.
		drop(slotSlave)
		drop(slotMaster)
	}
}

// endOfInput is the character that ends input (VEOF of termios(3)), ^D.
const endOfInput = 4

// fill reads into an empty buffer.
//
//go:nosplit
//go:norace
func (b *buffer) fill(f uintptr) uintptr {
	r := sys(unix.SYS_READ, f, uintptr(unsafe.Pointer(&b.bytes)), unsafe.Sizeof(b.bytes), 0, 0, 0)
	if !isErr(r) && r > 0 {
		b.begin, b.end = 0, r
		b.last = *(*byte)(unsafe.Add(unsafe.Pointer(&b.bytes), r-1))
	}
	return r
}

// put puts a byte into a buffer that has room.
//
//go:nosplit
//go:norace
func (b *buffer) put(char byte) {
	*(*byte)(unsafe.Add(unsafe.Pointer(&b.bytes), b.end)) = char
	b.end++
}

// flush writes what a buffer holds, as far as that goes.
//
//go:nosplit
//go:norace
func (b *buffer) flush(f uintptr) uintptr {
	r := sys(unix.SYS_WRITE, f, uintptr(unsafe.Add(unsafe.Pointer(&b.bytes), b.begin)), b.end-b.begin, 0, 0, 0)
	if r == failure(uintptr(unix.EAGAIN)) || r == failure(uintptr(unix.EINTR)) {
		return 0
	}
	if isErr(r) {
		return r
	}
	if b.begin += r; b.begin == b.end {
		b.begin, b.end = 0, 0
	}
	return r
}

// stopCopying copies what the payload has written last, and puts the terminal's settings
// back.
//
//go:nosplit
//go:norace
func stopCopying() {
	if *heldAt(slotMaster) == 0 {
		return
	}
	b := &waiting.copying.from
	for {
		for b.end != 0 {
			if isErr(b.flush(fd(slotOut))) {
				b.end = 0
			}
		}
		if r := b.fill(fd(slotMaster)); isErr(r) || r == 0 {
			break
		}
	}
	makeRaw(false)
}
