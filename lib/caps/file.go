package caps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// A File is what a file gives to the process that executes it (capabilities(7), "File
// capabilities"): effective is all of permitted and inheritable, or nothing. RootID is
// the user, outside, who is root of the user namespaces in which it holds, 0 for
// everywhere.
type File struct {
	Sets
	RootID uint32
}

// fileAttr is the extended attribute: a struct vfs_cap_data or vfs_ns_cap_data of
// linux/capability.h, little-endian.
const fileAttr = "security.capability"

const (
	fileRevision  = 0xff000000
	fileRevision1 = 0x01000000
	fileRevision2 = 0x02000000
	fileRevision3 = 0x03000000
	fileEffective = 1
)

var (
	errFileFormat = errors.New("a format that is not known")
	errFileSets   = errors.New("a file's effective capabilities are all that it has, or none (capabilities(7))")
	errNotRegular = errors.New("not a regular file")
)

// ReadFile returns what the file at path, which is no symbolic link, has. Without any
// the errno is ENODATA.
func ReadFile(path string) (File, error) {
	buf := make([]byte, 64)
	n, err := unix.Lgetxattr(path, fileAttr, buf)
	if err != nil {
		return File{}, fmt.Errorf("read the capabilities of %s: %w", path, err)
	}
	f, err := decodeFile(buf[:n])
	if err != nil {
		return File{}, fmt.Errorf("read the capabilities of %s: %w", path, err)
	}
	return f, nil
}

func decodeFile(data []byte) (File, error) {
	var f File
	if len(data) < 4 {
		return f, errFileFormat
	}
	words := make([]uint32, len(data)/4)
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	length := 0
	switch words[0] & fileRevision {
	case fileRevision1:
		length = 3
	case fileRevision2:
		length = 5
	case fileRevision3:
		length = 6
	}
	if len(words) != length || len(data)%4 != 0 {
		return f, errFileFormat
	}
	f.Permitted, f.Inheritable = Set(words[1]), Set(words[2])
	if length > 3 {
		f.Permitted, f.Inheritable = join(words[1], words[3]), join(words[2], words[4])
	}
	if length > 5 {
		f.RootID = words[5]
	}
	if words[0]&fileEffective != 0 {
		f.Effective = f.Permitted | f.Inheritable
	}
	return f, nil
}

// encode writes f in the oldest revision that can hold it; the first one cannot be
// written any more.
func (f *File) encode() ([]byte, error) {
	has := f.Permitted | f.Inheritable
	magic := uint32(fileRevision2)
	if f.RootID != 0 {
		magic = fileRevision3
	}
	if f.Effective != 0 {
		if has&^f.Effective != 0 {
			return nil, errFileSets
		}
		magic |= fileEffective
	}
	words := []uint32{magic, uint32(f.Permitted), uint32(f.Inheritable), uint32(f.Permitted >> 32), uint32(f.Inheritable >> 32)}
	if f.RootID != 0 {
		words = append(words, f.RootID)
	}
	var data []byte
	for _, w := range words {
		data = binary.LittleEndian.AppendUint32(data, w)
	}
	return data, nil
}

// WriteFile gives the regular file at path, which is no symbolic link, what f says, and
// takes away what it had if f is nil (the errno is ENODATA where it had nothing). It
// wants CAP_SETFCAP over the file.
func WriteFile(path string, f *File) error {
	fail := func(err error) error { return fmt.Errorf("write the capabilities of %s: %w", path, err) }
	var data []byte
	if f != nil {
		var err error
		if data, err = f.encode(); err != nil {
			return fail(err)
		}
	}
	// The descriptor is for the path's last part to be looked at once; one to read with
	// would want the right to read.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(errNotRegular)
	}
	self := "/proc/self/fd/" + strconv.Itoa(fd)
	if unix.Access("/proc/self/fd", unix.F_OK) != nil {
		self = path // without /proc there is only the path
	}
	if f == nil {
		err = unix.Removexattr(self, fileAttr)
	} else {
		err = unix.Setxattr(self, fileAttr, data, 0)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}
