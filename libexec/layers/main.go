// Layers unpacks the layers of a container image into a store that all containers share,
// and prints their directories, the topmost first, as 'overlay --lower' wants them:
//
//	layers STORE DIR [REF]
//	layers --copy TO DIR [REF]
//
// The second form unpacks them over each other, into the directory TO.
// DIR is an OCI image layout, or an unpacked 'docker save'. It is a program of its own,
// for scripts/rootfs, so that no chain links what reads images.
package main

import (
	"fmt"
	"os"
	"slices"

	"staves/lib/diag"
	"staves/lib/image"
	"staves/lib/layer"
)

func main() {
	args := os.Args[1:]
	do := print
	if len(args) > 0 && args[0] == "--copy" {
		do, args = flatten, args[1:]
	}
	if len(args) < 2 || len(args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: layers STORE DIR [REF]\n       layers --copy TO DIR [REF]")
		os.Exit(125)
	}
	ref := ""
	if len(args) == 3 {
		ref = args[2]
	}
	all, err := image.Layers(args[1], ref)
	if err == nil {
		err = do(args[0], all)
	}
	if err != nil {
		diag.Print(os.Stderr, "layers", err)
		os.Exit(125)
	}
}

// note says what is being done, since it may take long.
func note(i int, all []image.Layer) {
	fmt.Fprintf(os.Stderr, "layers: unpacking layer %d of %d (%d kB)\n", i+1, len(all), (all[i].Size+1023)/1024)
}

// tell says what an ordinary user does not get of an image.
func tell(lost layer.Lost) {
	if lost != (layer.Lost{}) {
		fmt.Fprintf(os.Stderr, "layers: not root: %d files belong to you instead of their owners; %d devices and %d attributes were left out\n",
			lost.Owners, lost.Devices, lost.Xattrs)
	}
}

func print(store string, all []image.Layer) error {
	s := image.Store{Dir: store}
	var dirs []string
	var lost layer.Lost
	for i, l := range all {
		if _, ok, err := s.Unpacked(l); err == nil && !ok {
			note(i, all)
		}
		dir, more, err := s.Unpack(l)
		if err != nil {
			return err
		}
		lost.Add(more)
		// A layer that comes twice is of effect in its upper place; overlayfs takes it once.
		dirs = slices.DeleteFunc(dirs, func(other string) bool { return other == dir })
		dirs = append(dirs, dir)
	}
	tell(lost)
	slices.Reverse(dirs)
	for _, d := range dirs {
		fmt.Println(d)
	}
	return nil
}

func flatten(to string, all []image.Layer) error {
	var lost layer.Lost
	for i, l := range all {
		note(i, all)
		more, err := l.Unpack(to, layer.Tree)
		if err != nil {
			return err
		}
		lost.Add(more)
	}
	tell(lost)
	return nil
}
