package image

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"staves/lib/layer"
)

// A Store keeps unpacked layers under a directory, each under its DiffID, so that images
// and containers share them: on disk, and since overlayfs reads the files themselves, in
// the page cache. Several processes may use it at once.
type Store struct{ Dir string }

// Unpacked tells whether the layer is there.
func (s Store) Unpacked(l Layer) (dir string, ok bool, err error) {
	h, err := hexOf(l.DiffID)
	if err != nil {
		return "", false, err
	}
	dir = filepath.Join(s.Dir, "sha256", h)
	_, err = os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return dir, false, nil
	}
	return dir, err == nil, err
}

// Unpack sees to it that the layer is there. Nobody sees it before it is complete, and
// has the digests it should have; of a failure nothing is left.
func (s Store) Unpack(l Layer) (dir string, lost layer.Lost, err error) {
	dir, ok, err := s.Unpacked(l)
	if err != nil || ok {
		return dir, lost, err
	}
	// For the owner alone: setuid programs of images are out of others' reach.
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", lost, err
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", lost, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", lost, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, ok, err := s.Unpacked(l); err != nil || ok {
		return dir, lost, err // somebody else did meanwhile
	}
	// What a process that was killed left: nobody else has the lock.
	half := filepath.Join(s.Dir, "unpacking")
	if _, err := os.Lstat(half); err == nil {
		if err := layer.Remove(half); err != nil {
			return "", lost, err
		}
	}
	if err := os.Mkdir(half, 0o755); err != nil {
		return "", lost, err
	}
	lost, err = l.Unpack(half, layer.Lower)
	if err == nil {
		err = os.Rename(half, dir)
	}
	if err != nil {
		return "", lost, errors.Join(err, layer.Remove(half))
	}
	return dir, lost, nil
}

// Unpack unpacks the layer into a directory, in one form or the other, and compares its
// digests: at the end, so that after an error the directory is of no use.
func (l Layer) Unpack(dir string, form layer.Form) (layer.Lost, error) {
	f, err := openRegular(l.File)
	if err != nil {
		return layer.Lost{}, err
	}
	defer f.Close()
	blob, diff := sha256.New(), sha256.New()
	packed := bufio.NewReaderSize(io.TeeReader(f, blob), 1<<16)
	plain, err := decompress(packed)
	if err != nil {
		return layer.Lost{}, fmt.Errorf("read %s: %w", l.File, err)
	}
	lost, err := layer.Apply(dir, io.TeeReader(plain, diff), form)
	if err != nil {
		return lost, fmt.Errorf("layer %s: %w", l.DiffID, err)
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return lost, fmt.Errorf("read %s: %w", l.File, err)
	}
	if l.Digest != "" && digest(blob) != l.Digest || digest(diff) != l.DiffID {
		return lost, fmt.Errorf("layer %s in %s has another digest: it was changed, or not written completely", l.DiffID, l.File)
	}
	return lost, nil
}

// decompress reads all that layers may be compressed with.
func decompress(r *bufio.Reader) (io.Reader, error) {
	if magic, err := r.Peek(4); err == nil && bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	}
	return layer.Decompress(r)
}

func digest(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// openRegular opens a file of an image: a link could lead out of it, and a pipe would
// never end.
func openRegular(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("open %s: no regular file", file))
	}
	return f, nil
}
