// Package image reads container images that lie on this machine, and keeps their layers
// unpacked, each once, as lower directories for overlayfs: an OCI image layout
// (image-spec, image-layout.md), or what 'docker save' wrote, unpacked.
//
// Images need not be trusted. Everything that is named by a digest is compared with it,
// digests are no paths before they have been checked, and layers are unpacked by package
// layer, which writes nothing outside.
//
// When not to use this package: in a chain. It links a JSON reader and decompressors,
// which every start would pay for; the program layers is its user. And not to fetch
// images: that is for skopeo(1), docker or podman.
package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// A Layer is one of an image, in the file that holds it.
type Layer struct {
	File string
	// Digest is that of the file, "" where the format names none.
	Digest string
	// DiffID is the digest of the tar archive in it.
	DiffID string
	Size   int64
}

type descriptor struct {
	MediaType   string
	Digest      string
	Size        int64
	Platform    *struct{ Architecture, OS string }
	Annotations map[string]string
}

// name is what an index calls a manifest.
func (d descriptor) name() string { return d.Annotations["org.opencontainers.image.ref.name"] }

// Layers reads the image called ref in the directory, the lowest layer first. With a ref
// of "" the directory holds one image.
func Layers(dir, ref string) ([]Layer, error) {
	var index struct{ Manifests []descriptor }
	err := read(filepath.Join(dir, "index.json"), "", &index)
	if errors.Is(err, os.ErrNotExist) {
		return saved(dir, ref)
	}
	if err != nil {
		return nil, err
	}
	d, err := choose(index.Manifests, ref)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	var m struct {
		Manifests, Layers []descriptor
		Config            descriptor
	}
	const nested = 3 // an index of indexes
	for depth := 0; ; depth++ {
		if err := blob(dir, d, &m); err != nil {
			return nil, err
		}
		if m.Manifests == nil || depth == nested {
			break
		}
		if d, err = choose(m.Manifests, ""); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		m.Manifests = nil
	}
	ids, err := diffIDs(dir, m.Config)
	if err != nil {
		return nil, err
	}
	if len(ids) != len(m.Layers) || len(ids) == 0 {
		return nil, fmt.Errorf("%s: the image has %d layers and names %d", dir, len(m.Layers), len(ids))
	}
	var all []Layer
	for i, l := range m.Layers {
		file, err := blobPath(dir, l.Digest)
		if err != nil {
			return nil, err
		}
		all = append(all, Layer{File: file, Digest: l.Digest, DiffID: ids[i], Size: l.Size})
	}
	return all, nil
}

// choose takes the manifest of that name, or for this machine.
func choose(list []descriptor, ref string) (descriptor, error) {
	var fit []descriptor
	for _, d := range list {
		if ref != "" && d.name() != ref && !strings.HasSuffix(d.Annotations["io.containerd.image.name"], "/"+ref) {
			continue
		}
		if p := d.Platform; p != nil && (p.Architecture != runtime.GOARCH || p.OS != "linux") {
			continue
		}
		fit = append(fit, d)
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	machine := "linux/" + runtime.GOARCH
	var why string
	switch names := namesOf(list); {
	case len(fit) > 1 && ref != "":
		why = fmt.Sprintf("%d images are named %s", len(fit), ref)
	case len(fit) > 1 && namesOf(fit) == "":
		why = "several images for " + machine + ", and no names to tell them apart"
	case len(fit) > 1:
		why = "several images for " + machine + ": name one of them: " + namesOf(fit)
	case ref == "":
		why = "no image for " + machine
	case names == "":
		why = "no image " + ref + " for " + machine + ": what it has bears no name"
	default:
		why = "no image " + ref + " for " + machine + ": it has " + names
	}
	return descriptor{}, errors.New(why)
}

// namesOf lists the names of those that have one.
func namesOf(list []descriptor) string {
	var names []string
	for _, d := range list {
		if d.name() != "" {
			names = append(names, d.name())
		}
	}
	return strings.Join(names, ", ")
}

func diffIDs(dir string, config descriptor) ([]string, error) {
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := blob(dir, config, &c); err != nil {
		return nil, err
	}
	return c.RootFS.DiffIDs, checkAll(c.RootFS.DiffIDs)
}

func checkAll(digests []string) error {
	for _, d := range digests {
		if _, err := hexOf(d); err != nil {
			return err
		}
	}
	return nil
}

// saved reads what 'docker save' wrote before it wrote an OCI layout.
func saved(dir, ref string) ([]Layer, error) {
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := read(filepath.Join(dir, "manifest.json"), "", &list); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s is no image: it has no index.json, as an OCI layout has, and no manifest.json", dir)
		}
		return nil, err
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%s holds %d images: save one", dir, len(list))
	}
	if ref != "" {
		return nil, fmt.Errorf("%s holds one image, without the name %s", dir, ref)
	}
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := read(inside(dir, list[0].Config), "", &c); err != nil {
		return nil, err
	}
	ids := c.RootFS.DiffIDs
	if len(ids) != len(list[0].Layers) || len(ids) == 0 {
		return nil, fmt.Errorf("%s: the image has %d layers and names %d", dir, len(list[0].Layers), len(ids))
	}
	var all []Layer
	for i, l := range list[0].Layers {
		layer := Layer{File: inside(dir, l), DiffID: ids[i]}
		if st, err := os.Lstat(layer.File); err == nil { // if not, to unpack it says why
			layer.Size = st.Size()
		}
		all = append(all, layer)
	}
	return all, checkAll(ids)
}

// inside is a path of the image in the directory.
func inside(dir, p string) string { return filepath.Join(dir, path.Clean("/"+p)) }

// hexOf checks a digest, and returns the part that is a file's name.
func hexOf(digest string) (string, error) {
	h, ok := strings.CutPrefix(digest, "sha256:")
	if b, err := hex.DecodeString(h); !ok || err != nil || len(b) != sha256.Size || strings.ToLower(h) != h {
		return "", fmt.Errorf("%q is no digest that is understood: sha256, and 64 digits", digest)
	}
	return h, nil
}

func blobPath(dir, digest string) (string, error) {
	h, err := hexOf(digest)
	return filepath.Join(dir, "blobs/sha256", h), err
}

// blob reads JSON that is named by its digest.
func blob(dir string, d descriptor, to any) error {
	file, err := blobPath(dir, d.Digest)
	if err != nil {
		return err
	}
	return read(file, d.Digest, to)
}

// most is how long JSON of an image may be.
const most = 4 << 20

// read reads JSON from a regular file. With a digest, it must have it.
func read(file, digest string, to any) error {
	f, err := openRegular(file)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", file, err)
	case len(text) > most:
		return fmt.Errorf("read %s: more than %d bytes, which no description of an image has", file, most)
	case digest != "" && sumOf(text) != digest:
		return fmt.Errorf("%s has not the digest it is named by: it was changed, or not written completely", file)
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	return nil
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}
