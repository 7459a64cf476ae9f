package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// paxXattr is what the keys of extended attributes begin with in an archive.
const paxXattr = "SCHILY.xattr."

// Pack writes an overlay's upper directory as an uncompressed OCI layer. Owners are those
// that this process sees: for the state of a user namespace it is called in one.
func Pack(upper string, w io.Writer) error {
	p := packer{tar: tar.NewWriter(w), links: map[inode]string{}}
	if err := walk(upper, p.add); err != nil {
		return err
	}
	return p.tar.Close()
}

type packer struct {
	tar   *tar.Writer
	links map[inode]string // the first name of a file that has several
}

type inode struct{ dev, ino uint64 }

func (p *packer) add(n *node) error {
	if strings.HasPrefix(n.name, whiteoutPrefix) {
		return fmt.Errorf("pack /%s: in an OCI layer a name that begins with %s means a deletion", n.path, whiteoutPrefix)
	}
	gone, err := n.whiteout()
	if err != nil {
		return err
	}
	if gone {
		return p.mark(path.Join(path.Dir(n.path), whiteoutPrefix+n.name))
	}
	for _, name := range []string{"redirect", "metacopy"} {
		if _, ok, err := n.mark(name); err != nil {
			return err
		} else if ok {
			return fmt.Errorf("pack /%s: its contents are in a lower layer (overlay.%s): it was made with redirect_dir or metacopy on", n.path, name)
		}
	}
	if n.stat.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil // belongs to a process that runs
	}
	h, err := p.header(n)
	if err != nil {
		return err
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack /%s: %w", n.path, err)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return p.contents(n)
	case tar.TypeDir:
		if opaque, _, err := n.mark("opaque"); err != nil {
			return err
		} else if opaque == "y" {
			return p.mark(n.path + "/" + opaqueMark)
		}
	}
	return nil
}

// mark writes one of the empty files that mean a deletion.
func (p *packer) mark(name string) error {
	err := p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600})
	if err != nil {
		return fmt.Errorf("pack /%s: %w", name, err)
	}
	return nil
}

func (p *packer) header(n *node) (*tar.Header, error) {
	st := &n.stat
	h := &tar.Header{
		Name: n.path, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0), // a fraction would cost a block for every file
	}
	if first, ok := p.links[inode{st.Dev, st.Ino}]; ok && !n.isDir() {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return h, nil
	}
	if st.Nlink > 1 {
		p.links[inode{st.Dev, st.Ino}] = n.path
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, n.path+"/"
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		size, err := unix.Readlinkat(n.dir, n.name, buf)
		if err != nil {
			return nil, fmt.Errorf("read the link /%s: %w", n.path, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(buf[:size])
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil, fmt.Errorf("pack /%s: a file of type %#o", n.path, st.Mode&unix.S_IFMT)
	}
	return h, n.xattrs(h)
}

// xattrs puts the extended attributes that an image has into its header.
func (n *node) xattrs(h *tar.Header) error {
	list := make([]byte, 64<<10) // the kernel's limit, as of a value
	size, err := unix.Llistxattr(n.proc(), list)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the attributes of /%s: %w", n.path, err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		if !keeps(name) {
			continue
		}
		value := make([]byte, 64<<10)
		size, err := unix.Lgetxattr(n.proc(), name, value)
		if err != nil {
			return fmt.Errorf("read %s of /%s: %w", name, n.path, err)
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = string(value[:size])
	}
	return nil
}

func (p *packer) contents(n *node) error {
	// If it was swapped meanwhile: not through a link, and not waiting at a pipe.
	fd, err := unix.Openat(n.dir, n.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /%s: %w", n.path, err)
	}
	f := os.NewFile(uintptr(fd), n.path)
	defer f.Close()
	if _, err := io.CopyN(p.tar, f, n.stat.Size); errors.Is(err, io.EOF) {
		return fmt.Errorf("pack /%s: it became shorter meanwhile: is the overlay in use?", n.path)
	} else if err != nil {
		return fmt.Errorf("pack /%s: %w", n.path, unwrap(err))
	}
	return nil
}
