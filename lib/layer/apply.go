package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Form is what a layer is turned into.
type Form int

const (
	// Tree: the directory is changed as the layer says.
	Tree Form = iota
	// Lower: the directory becomes a lower directory for overlayfs, deletions marked.
	Lower
)

// Lost counts what of a layer this process may not make: an ordinary user gives no file
// to somebody else, and makes no device.
type Lost struct {
	Owners  int // files that belong to the caller instead, without setuid and setgid
	Devices int // left out
	Xattrs  int // left out, such as security.capability
}

// Add counts what another layer lost.
func (l *Lost) Add(more Lost) {
	l.Owners, l.Devices, l.Xattrs = l.Owners+more.Owners, l.Devices+more.Devices, l.Xattrs+more.Xattrs
}

// CompressedError is what [Apply] says of an archive that it cannot read itself.
type CompressedError struct {
	Program string // which decompresses it, with -dc
}

func (e *CompressedError) Error() string { return "compressed with " + e.Program }

// foreign is how what those programs write begins. A tar archive begins with a file's
// name, which may be BZh too.
var foreign = []struct{ program, first, soon string }{
	{"zstd", "\x28\xb5\x2f\xfd", ""},
	{"xz", "\xfd7zXZ", ""},
	{"bzip2", "BZh", "1AY&SY"},
}

// Apply unpacks a layer, a tar archive that may be compressed by gzip, into a directory.
// Neither the archive nor what is in the directory need be trusted. A failure leaves the
// directory half changed.
func Apply(dir string, r io.Reader, form Form) (Lost, error) {
	plain, err := Decompress(r)
	if err != nil {
		return Lost{}, err
	}
	t, err := openTree(dir)
	if err != nil {
		return Lost{}, err
	}
	defer t.close()
	a := applier{tree: t, form: form, made: map[string]bool{}, zeros: make([]byte, blockSize)}
	old := unix.Umask(0)
	defer unix.Umask(old)
	in := &counter{Reader: plain}
	archive := tar.NewReader(in)
	var end int64 // of the entry before
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return a.lost, fmt.Errorf("read the archive: %w", err)
		}
		if err := a.entry(h, archive); err != nil {
			return a.lost, fmt.Errorf("unpack %s: %w", h.Name, err)
		}
		if _, err := io.Copy(io.Discard, archive); err != nil {
			return a.lost, fmt.Errorf("read the archive: %w", err)
		}
		end = (in.n + tarBlock - 1) &^ (tarBlock - 1)
	}
	// Package tar takes any end between two entries for the archive's: one in the padding
	// of a file, and one after a header that belongs to the next.
	if in.n < end || in.n > end && in.zeros < tarBlock {
		return a.lost, fmt.Errorf("read the archive: %w", io.ErrUnexpectedEOF)
	}
	// What follows the end of the archive belongs to it too: a digest counts it.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return a.lost, fmt.Errorf("read the archive: %w", err)
	}
	return a.lost, a.finish()
}

// tarBlock is what every part of a tar archive is a multiple of.
const tarBlock = 512

// counter counts what is read, and the zeros at its end.
type counter struct {
	io.Reader
	n, zeros int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	rest := n
	for rest > 0 && p[rest-1] == 0 {
		rest--
	}
	if rest > 0 {
		c.zeros = 0
	}
	c.zeros += int64(n - rest)
	return n, err
}

// Decompress reads an archive that may be compressed by gzip. What
// others compress with, it recognizes: [CompressedError].
func Decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	magic, err := b.Peek(10)
	switch {
	case err != nil && err != io.EOF:
		return nil, fmt.Errorf("read the archive: %w", unwrap(err))
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("read the archive: %w", err)
		}
		return z, nil
	case len(magic) == 0:
		return nil, errors.New("read the archive: it is empty")
	}
	for _, f := range foreign {
		if bytes.HasPrefix(magic, []byte(f.first)) && bytes.Contains(magic, []byte(f.soon)) {
			return nil, fmt.Errorf("read the archive: %w", &CompressedError{f.program})
		}
	}
	return b, nil
}

type applier struct {
	*tree
	form  Form
	made  map[string]bool // paths of this layer, which its deletions do not concern
	dirs  []directory
	lost  Lost
	zeros []byte
}

// directory is one whose mode and time are set last: files are still made in it.
type directory struct {
	path string
	h    *tar.Header
}

func (a *applier) entry(h *tar.Header, contents io.Reader) error {
	// A path that begins with "/" or leads up is one inside all the same.
	p := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if p == "" {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the root of a layer is a directory")
		}
		a.dirs = append(a.dirs, directory{"", h})
		return nil
	}
	dir, err := a.directory(parentOf(p))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	name := path.Base(p)
	if strings.HasPrefix(name, whiteoutPrefix) {
		return a.deletion(dir, parentOf(p), name)
	}
	for at := p; at != "" && !a.made[at]; at = parentOf(at) {
		a.made[at] = true
	}
	if h.Typeflag == tar.TypeDir {
		return a.makeDir(dir, name, p, h)
	}
	if err := remove(dir, name, p, func(string) bool { return false }); err != nil {
		return err
	}
	return a.makeFile(dir, name, h, contents)
}

// directory opens a directory, for what is in it; a link at its end is followed inside
// the tree. What is missing on the way is made.
func (a *applier) directory(p string) (int, error) {
	if p == "" {
		return a.open("", unix.O_PATH|unix.O_DIRECTORY)
	}
	fd, err := a.open(p+"/.", unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return fd, err
	}
	parent, err := a.directory(parentOf(p))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	name := path.Base(p)
	err = unix.Mkdirat(parent, name, 0o755)
	if errors.Is(err, unix.EEXIST) {
		n := node{path: p, dir: parent, name: name}
		if err := unix.Fstatat(parent, name, &n.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return -1, err
		}
		gone, err := n.whiteout()
		if err != nil {
			return -1, err
		}
		if a.form == Lower && gone {
			return a.replace(parent, name, 0o755)
		}
		if n.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
			return -1, fmt.Errorf("%s is a link that leads to no directory of the tree: %w", p, unix.ENOENT)
		}
		return -1, fmt.Errorf("%s: %w", p, unix.ENOTDIR)
	}
	if err != nil {
		return -1, err
	}
	return openDir(parent, name)
}

// replace puts a directory, and opens it, in the place of something else of this layer: of
// what lies beneath a lower directory, nothing comes back into view.
func (a *applier) replace(dir int, name string, mode uint32) (int, error) {
	if err := unix.Unlinkat(dir, name, 0); err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(dir, name, mode); err != nil {
		return -1, err
	}
	fd, err := openDir(dir, name)
	if err != nil || a.form != Lower {
		return fd, err
	}
	if err := a.opaque(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func openDir(dir int, name string) (int, error) {
	return unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// deletion does what the mark called name says of the directory at path in.
func (a *applier) deletion(dir int, in, name string) error {
	made := func(p string) bool { return a.made[p] }
	victim := strings.TrimPrefix(name, whiteoutPrefix)
	switch {
	case name == opaqueMark && a.form == Lower:
		return a.opaque(dir)
	case name == opaqueMark:
		return empty(dir, ".", in, made)
	case strings.HasPrefix(name, reserved):
		return nil
	case victim == "" || victim == "." || victim == "..":
		return errors.New("it deletes no name")
	}
	p := strings.TrimPrefix(in+"/"+victim, "/")
	if err := remove(dir, victim, p, made); err != nil || a.form == Tree {
		return err
	}
	if !a.made[p] {
		return hide(dir, victim)
	}
	// This layer puts something in its place. A directory would be merged.
	fd, err := openDir(dir, victim)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return a.opaque(fd)
}

// hide makes a whiteout, as everybody may since Linux 5.8.
func hide(dir int, name string) error { return unix.Mknodat(dir, name, unix.S_IFCHR, 0) }

// opaque marks a directory for overlays of both kinds. Without a privilege trusted.*
// cannot be set; then the layer is of use with userxattr only, which is what its maker has.
func (a *applier) opaque(dir int) error {
	at := "/proc/self/fd/" + strconv.Itoa(dir)
	trusted := unix.Setxattr(at, overlayNames[0]+"opaque", []byte("y"), 0)
	user := unix.Setxattr(at, overlayNames[1]+"opaque", []byte("y"), 0)
	if trusted != nil && user != nil {
		return fmt.Errorf("mark it as opaque: %w", user)
	}
	return nil
}

func (a *applier) makeDir(dir int, name, p string, h *tar.Header) error {
	a.dirs = append(a.dirs, directory{p, h})
	err := unix.Mkdirat(dir, name, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return err
	}
	fd, err := a.replace(dir, name, 0o700)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func (a *applier) makeFile(dir int, name string, h *tar.Header, contents io.Reader) error {
	mode := uint32(h.Mode & 0o7777)
	device := int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	var err error
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return a.regular(dir, name, h, contents)
	case tar.TypeLink:
		return a.hardLink(dir, name, h.Linkname)
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, dir, name)
	case tar.TypeFifo:
		err = unix.Mknodat(dir, name, unix.S_IFIFO|mode, 0)
	case tar.TypeChar, tar.TypeBlock:
		kind := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			kind = unix.S_IFBLK
		}
		err = unix.Mknodat(dir, name, kind|mode, device)
		if errors.Is(err, unix.EPERM) {
			a.lost.Devices++
			if a.form == Lower {
				return hide(dir, name) // what it replaces
			}
			return nil
		}
	default:
		return fmt.Errorf("an entry of type %q", h.Typeflag)
	}
	if err != nil {
		return err
	}
	err = unix.Fchownat(dir, name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW)
	if a.refused(err) {
		err = nil
	} else if err == nil && h.Typeflag != tar.TypeSymlink && mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		err = unix.Fchmodat(dir, name, mode, 0)
	}
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(dir, name, times(h), unix.AT_SYMLINK_NOFOLLOW)
}

// hardLink gives a file of the tree another name.
func (a *applier) hardLink(dir int, name, target string) error {
	p := strings.TrimPrefix(path.Clean("/"+target), "/")
	if p == "" {
		return errors.New("a link to the root")
	}
	from, err := a.directory(parentOf(p))
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, path.Base(p), dir, name, 0); err != nil {
		return fmt.Errorf("link to %s: %w", target, err)
	}
	return nil
}

const blockSize = 64 << 10

// regular makes a file; what is nothing but zeros in it becomes a hole.
func (a *applier) regular(dir int, name string, h *tar.Header, contents io.Reader) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	buf := make([]byte, blockSize)
	for {
		n, err := io.ReadFull(contents, buf)
		if n > 0 && bytes.Equal(buf[:n], a.zeros[:n]) {
			_, seekErr := f.Seek(int64(n), io.SeekCurrent)
			err = errors.Join(seekErr, endOfFile(err))
		} else if n > 0 {
			_, writeErr := f.Write(buf[:n])
			err = errors.Join(unwrap(writeErr), endOfFile(err))
		}
		if n < len(buf) {
			if err = endOfFile(err); err != nil {
				return err
			}
			break
		}
		if err != nil {
			return err
		}
	}
	if err := f.Truncate(h.Size); err != nil { // a hole at the end
		return unwrap(err)
	}
	return a.attributes(fd, h)
}

// endOfFile is err, but for an end that was to be expected.
func endOfFile(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// attributes sets owner, mode, extended attributes and time of an open file or directory.
func (a *applier) attributes(fd int, h *tar.Header) error {
	at := "/proc/self/fd/" + strconv.Itoa(fd)
	mode := uint32(h.Mode & 0o7777)
	if err := unix.Chown(at, h.Uid, h.Gid); a.refused(err) {
		mode &^= unix.S_ISUID | unix.S_ISGID // they were meant for another owner
	} else if err != nil {
		return err
	}
	if err := unix.Chmod(at, mode); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || !keeps(name) {
			continue
		}
		err := unix.Setxattr(at, name, []byte(value), 0)
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
			a.lost.Xattrs++
		} else if err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, at, times(h), 0)
}

// refused counts an owner that this process may not give (EPERM), or that its user
// namespace has no id for (EINVAL).
func (a *applier) refused(err error) bool {
	no := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)
	if no {
		a.lost.Owners++
	}
	return no
}

func times(h *tar.Header) []unix.Timespec {
	t := h.ModTime
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	return []unix.Timespec{ts, ts}
}

// finish gives directories their attributes, the innermost first. One that the archive has
// replaced later on is none any more.
func (a *applier) finish() error {
	for i := len(a.dirs) - 1; i >= 0; i-- {
		d := a.dirs[i]
		fd, err := a.open(d.path, unix.O_PATH|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue
		}
		if err == nil {
			err = a.attributes(fd, d.h)
			_ = unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", d.h.Name, err)
		}
	}
	return nil
}
