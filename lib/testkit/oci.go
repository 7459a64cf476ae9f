package testkit

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// OCILayout makes dir an OCI image layout of one image, with those tar archives for its
// layers, the lowest first: as they are, by gzip, by zstd, and so on.
func OCILayout(dir string, layers [][]byte) error {
	blobs := filepath.Join(dir, "blobs/sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	type object map[string]any
	var failed error
	put := func(text []byte) object {
		sum := fmt.Sprintf("%x", sha256.Sum256(text))
		if err := os.WriteFile(filepath.Join(blobs, sum), text, 0o644); err != nil {
			failed = err
		}
		return object{"digest": "sha256:" + sum, "size": len(text)}
	}
	putJSON := func(o object) object {
		text, err := json.Marshal(o)
		if err != nil {
			failed = err
		}
		return put(text)
	}
	var ids []string
	var list []object
	for i, l := range layers {
		ids = append(ids, fmt.Sprintf("sha256:%x", sha256.Sum256(l)))
		var packed bytes.Buffer
		switch i % 3 {
		case 0:
			packed.Write(l)
		case 1:
			w := gzip.NewWriter(&packed)
			if _, err := w.Write(l); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
		case 2:
			w, err := zstd.NewWriter(&packed)
			if err != nil {
				return err
			}
			if _, err := w.Write(l); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
		}
		list = append(list, put(packed.Bytes()))
	}
	config := putJSON(object{"architecture": runtime.GOARCH, "os": "linux", "rootfs": object{"type": "layers", "diff_ids": ids}})
	manifest := putJSON(object{"schemaVersion": 2, "config": config, "layers": list})
	manifest["annotations"] = object{"org.opencontainers.image.ref.name": "latest"}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{manifest}})
	if err != nil || failed != nil {
		return fmt.Errorf("make an OCI layout: %w, %w", err, failed)
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644)
}
