package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// isRoot tells whether path names "/".
func isRoot(path string) bool { return filepath.Clean(path) == "/" }

// A resolver finds which directories paths lead to. It follows what leads to many of them
// once: the five hundred layers of an overlay mostly lie side by side.
type resolver struct {
	wd    string            // without links
	known map[string]string // directories, by their paths
}

// newResolver returns a resolver of paths from the present working directory.
func newResolver() resolver {
	// Not os.Getwd, which prefers $PWD, where links may be.
	wd, err := unix.Getwd()
	if err != nil {
		wd = "."
	}
	return resolver{wd: wd, known: map[string]string{}}
}

// real is the path without links of what path leads to. What is not there yet lies where
// the directory above it is.
func (r resolver) real(path string) (string, error) {
	dir, name := filepath.Split(strings.TrimRight(path, "/"))
	switch {
	case name == "." && dir != "":
		return r.real(dir)
	case name == "", name == ".", name == "..":
		return filepath.EvalSymlinks(r.absolute(path)) // not cleaned: ".." comes after links
	}
	dir, err := r.directory(dir)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, name)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, unix.ENOENT):
		return path, nil
	case err != nil:
		return "", err
	case info.Mode()&os.ModeSymlink == 0:
		return path, nil
	}
	to, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, unix.ENOENT) {
		return to, err
	}
	if to, err = os.Readlink(path); err != nil {
		return "", err
	}
	if !filepath.IsAbs(to) {
		to = dir + "/" + to
	}
	return r.real(to)
}

// directory is the path without links of what holds the last part of a path.
func (r resolver) directory(path string) (string, error) {
	if dir, ok := r.known[path]; ok {
		return dir, nil
	}
	dir, err := filepath.EvalSymlinks(r.absolute(path))
	if errors.Is(err, unix.ENOENT) && strings.Trim(path, "/") != "" {
		dir, err = r.real(path)
	}
	if err == nil {
		r.known[path] = dir
	}
	return dir, err
}

// absolute makes path independent of the working directory.
func (r resolver) absolute(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = r.wd + "/" + path
	}
	if strings.Contains(path, "..") {
		return path // what comes before it may be a link, and ".." what holds its target
	}
	return filepath.Clean(path)
}

// within tells whether path is dir or lies in it. Both are clean, and have no links.
func within(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// nested returns the places of two of the paths, the one being the other or lying in it,
// in the order in which they are given. The paths are clean, and have no links.
func nested(paths []string) (first, second int, ok bool) {
	order := make([]int, len(paths))
	for i := range order {
		order[i] = i
	}
	// What lies in a directory comes right after it, so that only neighbours need be
	// compared.
	slices.SortFunc(order, func(i, j int) int { return compareParts(paths[i], paths[j]) })
	for k := 1; k < len(order); k++ {
		i, j := order[k-1], order[k]
		if within(paths[j], paths[i]) {
			return min(i, j), max(i, j), true
		}
	}
	return 0, 0, false
}

// compareParts orders paths by their parts: "/a/b" before "/a!".
func compareParts(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
		case x == '/':
			return -1
		case y == '/':
			return 1
		default:
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// absolute makes path independent of the working directory. Without one (it was removed)
// the path stays relative, and its use fails with the kernel's word for that.
func absolute(path string) string { return newResolver().absolute(path) }
