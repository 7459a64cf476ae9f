package entry

import (
	_ "embed" // the programs
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a plain command line comes to does not depend on anything but its options: so the
// programs for those of nsrun that are only short options without values are written
// down when the project is built, and premain finds them by the options. The Go runtime,
// whose start takes longer than all the rest, is then started only if something fails.
// See docs/design/0013-prepared.md.
//
// prepared.bin begins with names that are no plain program (a stage, an init), each ended
// by a NUL, and the list by another one; then come the programs: the options, two bytes;
// the length of what follows, two bytes; the packed program and a NUL. lib/stages writes
// it, and a test there holds it against what the stages write now.

//go:embed prepared.bin
var prepared string

// PreparedOptions are the options that prepared programs are looked up by: the bit of
// each is its place.
const PreparedOptions = "muipnUr"

// Numbers in a prepared program that stand for the caller's ids, with as many digits as an
// id can have.
const (
	PreparedUID = 4294967201
	PreparedGID = 4294967202
)

// Shells are the names of shells that are lost where the terminal's foreground is a process
// group without a number in their pid namespace, each ended by a NUL: at their end they put
// back the group that they found, and group 0 is none. nsrun has a step for them.
const Shells = "sh\x00dash\x00ash\x00"

// Prepared encodes programs, by their options, and the names of what is no plain program.
func Prepared(programs map[uint16]*Builder, names []string) (string, error) {
	var options []uint16
	for o := range programs {
		options = append(options, o)
	}
	slices.Sort(options)
	all := []byte(strings.Join(names, "\x00") + "\x00\x00")
	for _, o := range options {
		pieces, err := programs[o].encode("")
		if err != nil {
			return "", err
		}
		pieces[0][1] = 0 // the process id
		var texts [][]byte
		for _, p := range pieces {
			texts = pack(texts, p)
		}
		text := append(texts[0][len(programVar):], 0)
		all = binary.LittleEndian.AppendUint16(all, o)
		all = binary.LittleEndian.AppendUint16(all, uint16(len(text)))
		all = append(all, text...)
	}
	return string(all), nil
}

// Program is the program prepared for the options, packed, "" if there is none.
func Program(all string, options uint16) string {
	_, all, _ = strings.Cut(all, "\x00\x00")
	for len(all) > 4 {
		size := binary.LittleEndian.Uint16([]byte(all[2:]))
		if binary.LittleEndian.Uint16([]byte(all)) == options {
			return all[4:][:size]
		}
		all = all[4+size:]
	}
	return ""
}

// paths is room for where to look for the payload.
var paths [8192]byte

// usePrepared finds the program for the words of this process, and makes it the program
// to carry out; index is the place of the payload's first word.
//
//go:nosplit
//go:norace
func usePrepared() (index uintptr, ok bool) {
	name, _ := baseName()
	if name == nil || !same(name, "nsrun") {
		return 0, false
	}
	options, index := plainOptions()
	if index == 0 {
		return 0, false
	}
	payload := word(index)
	base := payload
	for p := payload; *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		if *(*byte)(p) == '/' {
			base = unsafe.Add(p, 1)
		}
	}
	all := unsafe.Pointer(unsafe.StringData(prepared))
	for *(*byte)(all) != 0 {
		if sameText(all, base) {
			return 0, false
		}
		all = afterText(all)
	}
	if isShell(base) && foreground(0) == int32(sys(unix.SYS_GETPGID, 0, 0, 0, 0, 0, 0)) {
		return 0, false
	}
	// A pipe on standard input may hold the plan of other stages: chain looks who writes it.
	if !isErr(sys(unix.SYS_FCNTL, 0, unix.F_GETPIPE_SZ, 0, 0, 0, 0)) || !findPaths(payload) {
		return 0, false
	}
	end := uintptr(unsafe.Pointer(unsafe.StringData(prepared))) + uintptr(len(prepared))
	for all = unsafe.Add(all, 1); uintptr(all) < end; {
		if half(all) == options {
			unpack(unsafe.Add(all, 4), 0)
			fillIDs()
			return index, true
		}
		all = unsafe.Add(all, 4+half(unsafe.Add(all, 2)))
	}
	return 0, false
}

// isShell tells whether a name is one of Shells.
//
//go:nosplit
//go:norace
func isShell(name unsafe.Pointer) bool {
	list := unsafe.Pointer(unsafe.StringData(Shells))
	for end := unsafe.Add(list, len(Shells)); list != end; list = afterText(list) {
		if sameText(list, name) {
			return true
		}
	}
	return false
}

//go:nosplit
//go:norace
func word(i uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Add(start0(), 8*(1+i))) }

//go:nosplit
//go:norace
func half(p unsafe.Pointer) uintptr {
	return uintptr(*(*byte)(p)) | uintptr(*(*byte)(unsafe.Add(p, 1)))<<8
}

// plainOptions reads the words up to the payload's, whose index is 0 if they are not all
// plain options, or if none follows.
//
//go:nosplit
//go:norace
func plainOptions() (options, index uintptr) {
	for i := uintptr(1); i < *(*uintptr)(start0()); i++ {
		p := word(i)
		if *(*byte)(p) != '-' {
			if options == 0 || *(*byte)(p) == 0 {
				return 0, 0
			}
			return options, i
		}
		p = unsafe.Add(p, 1)
		if *(*byte)(p) == '-' && *(*byte)(unsafe.Add(p, 1)) == 0 && i+1 < *(*uintptr)(start0()) && *(*byte)(word(i + 1)) != 0 {
			return options, i + 1
		}
		if *(*byte)(p) == 0 {
			return 0, 0
		}
		for ; *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
			bit := uintptr(0)
			for n := 0; n < len(PreparedOptions); n++ {
				if *(*byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(PreparedOptions)), n)) == *(*byte)(p) {
					bit = 1 << n
				}
			}
			if bit == 0 {
				return 0, 0
			}
			options |= bit
		}
	}
	return 0, 0
}

// findPaths lists the paths at which a program is looked for, as Run.paths of the chain
// does. It fails where there is no room, or where the environment is not the payload's
// as it stands: variables of ours tell of earlier stages, or ask for a trace.
//
//go:nosplit
//go:norace
func findPaths(payload unsafe.Pointer) bool {
	list := unsafe.Pointer(unsafe.StringData("/bin:/usr/bin\x00"))
	found := false
	for p := envp(); *(*uintptr)(p) != 0; p = unsafe.Add(p, 8) {
		entry := *(*unsafe.Pointer)(p)
		switch {
		case starts(entry, "STAVES_"):
			return false
		case !found && starts(entry, "PATH="):
			list, found = unsafe.Add(entry, 5), true
		}
	}
	n := uintptr(0)
	for p := payload; *(*byte)(p) != 0; p = unsafe.Add(p, 1) {
		if *(*byte)(p) == '/' {
			list = nil
		}
	}
	if list == nil {
		return addPath(&n, payload) && putPath(&n, 0) && putPath(&n, 0)
	}
	for {
		last := byte(0)
		for *(*byte)(list) != 0 && *(*byte)(list) != ':' {
			last = *(*byte)(list)
			if !putPath(&n, last) {
				return false
			}
			list = unsafe.Add(list, 1)
		}
		if last == 0 && !putPath(&n, '.') || last != '/' && !putPath(&n, '/') || !addPath(&n, payload) || !putPath(&n, 0) {
			return false
		}
		if *(*byte)(list) == 0 {
			return putPath(&n, 0)
		}
		list = unsafe.Add(list, 1)
	}
}

//go:nosplit
//go:norace
func addPath(n *uintptr, text unsafe.Pointer) bool {
	for ; *(*byte)(text) != 0; text = unsafe.Add(text, 1) {
		if !putPath(n, *(*byte)(text)) {
			return false
		}
	}
	return true
}

//go:nosplit
//go:norace
func putPath(n *uintptr, c byte) bool {
	if *n == unsafe.Sizeof(paths) {
		return false
	}
	*(*byte)(unsafe.Add(unsafe.Pointer(&paths), *n)) = c
	*n++
	return true
}

// fillIDs puts the process's ids where the program has numbers that stand for them.
//
//go:nosplit
//go:norace
func fillIDs() {
	const digits = 10
	hdr := (*header)(unsafe.Pointer(&program))
	text := unsafe.Add(unsafe.Pointer(&program), uintptr(hdr.blob))
	end := unsafe.Add(unsafe.Pointer(&program), 8*uintptr(hdr.size)-digits)
	for ; uintptr(text) <= uintptr(end); text = unsafe.Add(text, 1) {
		if !starts(text, "42949672") {
			continue
		}
		nr := uintptr(unix.SYS_GETEUID)
		if *(*byte)(unsafe.Add(text, digits-1)) == '0'+PreparedGID%10 {
			nr = unix.SYS_GETEGID
		}
		id := sys(nr, 0, 0, 0, 0, 0, 0)
		for i := uintptr(1); i <= digits; i++ {
			*(*byte)(unsafe.Add(text, digits-i)) = '0' + byte(id%10)
			id /= 10
		}
	}
}

//go:nosplit
//go:norace
func starts(text unsafe.Pointer, with string) bool {
	for i := 0; i < len(with); i++ {
		if *(*byte)(unsafe.Add(text, i)) != *(*byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(with)), i)) {
			return false
		}
	}
	return true
}

//go:nosplit
//go:norace
func same(text unsafe.Pointer, with string) bool {
	return starts(text, with) && *(*byte)(unsafe.Add(text, len(with))) == 0
}

//go:nosplit
//go:norace
func sameText(a, b unsafe.Pointer) bool {
	for *(*byte)(a) == *(*byte)(b) {
		if *(*byte)(a) == 0 {
			return true
		}
		a, b = unsafe.Add(a, 1), unsafe.Add(b, 1)
	}
	return false
}

// afterText is where the text behind this one begins.
//
//go:nosplit
//go:norace
func afterText(p unsafe.Pointer) unsafe.Pointer {
	for *(*byte)(p) != 0 {
		p = unsafe.Add(p, 1)
	}
	return unsafe.Add(p, 1)
}

// runPrepared carries out the prepared program and executes the payload.
//
//go:nosplit
//go:norace
func runPrepared(index uintptr) {
	rec.failed, rec.errno = run(unsafe.Pointer(&program))
	if rec.errno != 0 && rec.astray {
		comeBack(unsafe.Pointer(&program), rec.failed)
	}
	if rec.errno == 0 {
		rec.index = index
		r := tryPaths(unsafe.Pointer(&paths), uintptr(unsafe.Add(start0(), 8*(1+index))), uintptr(envp()), execSearch)
		rec.errno = uint64(-r)
	}
}

// preparedError says why a prepared program did not end with the payload's execution.
func preparedError() *OpError {
	if rec.index == 0 {
		return opError(unsafe.Pointer(&program), rec.failed, rec.errno)
	}
	return &OpError{Tool: "nsrun", Label: text(word(rec.index)), Errno: unix.Errno(rec.errno), Exec: true}
}
