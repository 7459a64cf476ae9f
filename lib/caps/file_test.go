package caps

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFileFormat(t *testing.T) {
	for hex, want := range map[string]string{
		"\x01\x00\x00\x01" + "\x01\x00\x00\x00" + "\x02\x00\x00\x00":                                                      "cap_dac_override=ei cap_chown+ep",
		"\x00\x00\x00\x02" + "\x00\x20\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00":                      "cap_net_raw=p",
		"\x01\x00\x00\x02" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x80\x00\x00\x00\x00\x00\x00\x00":                      "cap_bpf=ep",
		"\x01\x00\x00\x03" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\xe8\x03\x00\x00": "cap_chown=ep 1000",
		"":                 "error",
		"\x00\x00\x00\x02": "error",
		"\x00\x00\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00":     "error",
		"\x00\x00\x00\x02" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00": "error",
	} {
		f, err := decodeFile([]byte(hex))
		got := f.String()
		if f.RootID != 0 {
			got += " 1000"
		}
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", hex, got, want)
		}
	}
}

func FuzzFileFormat(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x03\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := decodeFile(data)
		if err != nil {
			return
		}
		again, err := file.encode()
		if err != nil {
			t.Fatal(err)
		}
		if f, err := decodeFile(again); err != nil || f != file {
			t.Errorf("%x became %x: %v", data, again, err)
		}
	})
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(path, nil, 0), os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !errors.Is(err, unix.ENODATA) {
		t.Errorf("a file without capabilities: %v", err)
	}
	want := File{Sets: Sets{Permitted: 1 << 13, Effective: 1 << 13}}
	if err := WriteFile(path, &want); errors.Is(err, unix.EPERM) {
		t.Skipf("cannot give files capabilities here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if err := WriteFile(path, &File{Sets: Sets{Permitted: 3, Effective: 1}}); !errors.Is(err, errFileSets) {
		t.Errorf("effective in part: %v", err)
	}
	if err := WriteFile(link, nil); !errors.Is(err, errNotRegular) {
		t.Errorf("a link: %v", err)
	}
	if err := WriteFile(dir, nil); !errors.Is(err, errNotRegular) {
		t.Errorf("a directory: %v", err)
	}
	if err := WriteFile(path, nil); err != nil {
		t.Error(err)
	}
	if err := WriteFile(path, nil); !errors.Is(err, unix.ENODATA) {
		t.Errorf("nothing to take away: %v", err)
	}
}
