package mount

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOverlayCheck(t *testing.T) {
	defer func(f func() bool) { oneByOne = f }(oneByOne)
	many := slices.Repeat([]string{"/0123456789"}, MaxLayers)
	for _, c := range []struct {
		one   bool
		lower []string
		want  string
	}{
		{true, many, ""},
		{true, append(many, "/x"), "501 lower layers: overlayfs takes 500"},
		{false, many, "take 6008 bytes: before Linux 6.8 the kernel takes 4095"},
		{false, many[:300], ""},
	} {
		oneByOne = func() bool { return c.one }
		err := Overlay{Lower: c.lower}.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%d layers: %v", len(c.lower), err)
		}
	}
}

func TestOverlayPage(t *testing.T) {
	o := Overlay{Lower: []string{`/a:b,c\d`, "/e"}, Upper: "/u,v:w", Work: "/w", UserXattr: true, Options: []Option{{"index", "on"}}}
	const want = `lowerdir=/a\:b\,c\\d:/e,upperdir=/u\,v:w,workdir=/w,index=on,userxattr`
	if got := o.page(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// layers makes directories with a file of their own name in each.
func layers(t *testing.T, n int) []string {
	t.Helper()
	dir := t.TempDir()
	var all []string
	for i := range n {
		name := dir + "/" + strconv.Itoa(i)
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+"/f"+strconv.Itoa(i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		all = append(all, name)
	}
	return all
}

// Where layers are no parameters of their own, more than fsconfig(2) takes go by mount(2).
func TestOverlayOldKernel(t *testing.T) {
	defer func(f func() bool) { oneByOne = f }(oneByOne)
	oneByOne = func() bool { return false }
	o := Overlay{Lower: layers(t, 20)}
	target := t.TempDir()
	isolated(t, func() {
		if err := Here(target, o.Mount); err != nil {
			t.Error(err)
			return
		}
		names, err := os.ReadDir(target)
		if err != nil || len(names) != len(o.Lower) {
			t.Errorf("%d files, %v", len(names), err)
		}
	})
}

// As many layers as there may be are mounted in no time.
func TestOverlayOfAll(t *testing.T) {
	o := Overlay{Lower: layers(t, MaxLayers)}
	target := t.TempDir()
	const runs, limit = 5, 20 * time.Millisecond
	var best time.Duration
	isolated(t, func() {
		for i := range runs {
			begin := time.Now()
			err := Here(target, o.Mount)
			took := time.Since(begin)
			names, readErr := os.ReadDir(target)
			if err != nil || readErr != nil || len(names) != MaxLayers {
				t.Error(err, readErr, len(names))
				return
			}
			if i == 0 || took < best {
				best = took
			}
			if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	})
	t.Logf("%d layers: %v", MaxLayers, best)
	if best > limit {
		t.Errorf("%d layers take %v, more than %v", MaxLayers, best, limit)
	}
}
