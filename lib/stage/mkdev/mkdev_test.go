package mkdev

import "testing"

func TestItself(t *testing.T) {
	for path, want := range map[string]string{
		"dev": "dev", "dev/": "dev", "dev/.": "dev", "a/dev//./": "a/dev", "/dev/./.": "/dev", "/": "/", "/.": "/", "//": "/",
		".": ".", "./": ".", "..": "..", "../.": "..", "a.": "a.", "a/b.": "a/b.", "a/..": "a/..", ".dev": ".dev",
	} {
		if got := itself(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
