package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"staves/lib/testkit"
)

func TestMain(m *testing.M) {
	status := m.Run()
	testkit.Cleanup()
	os.Exit(status)
}

// Every row can be measured: ours works, and so do the rivals that the tests install.
func TestRows(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedExec(t, "cc", "bwrap", "runc", "cgexec", "capsh", "setpriv", "ip", "busybox")
	bin, err := testkit.Bin()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Check(t)
	cmd := exec.Command(filepath.Join(testkit.Root(), "scripts/bench"), "-n", "1")
	cmd.Env = append(os.Environ(), "BIN="+bin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, r := range rows {
		if !strings.Contains(string(out), r.job) {
			t.Errorf("nothing of the row %q", r.job)
		}
	}
	optional := regexp.MustCompile(`(tini|crun|podman|systemd-nspawn) is not installed$`)
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "not measured") && !optional.MatchString(line) {
			t.Error(line)
		}
	}
}

var sample = []result{{Job: "a <job>", Ways: []measurement{
	{Name: "ours", Median: 1},
	{Name: "in C", Key: "C", Median: 0.8, Ratio: 1.25},
	{Name: "other", Key: "other", Missing: "other is not installed"},
}}}

func TestCompare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept")
	if err := writeJSON(file, ratios(sample)); err != nil {
		t.Fatal(err)
	}
	const name = "a <job> / C"
	for _, c := range []struct {
		now  map[string]float64
		want string // of the error
	}{
		{map[string]float64{name: 1.25}, ""},
		{map[string]float64{name: 1.5}, ""},
		{map[string]float64{name: 0.2, "new": 9}, ""},
		{map[string]float64{name: 1.57}, name + ": 1.57, was 1.25"},
		{map[string]float64{"new": 1}, "none of its ratios"},
	} {
		err := compare(file, c.now, 0.25)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.now, err)
		}
	}
	if err := compare(file+".none", nil, 1); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestSVG(t *testing.T) {
	text := svg(sample)
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	if !strings.Contains(text, "ours 1.25 of it") || strings.Contains(text, "other") {
		t.Error(text)
	}
}
