package stages

import (
	"flag"
	"os"
	"testing"

	"staves/lib/chain"
	"staves/lib/entry"
	"staves/lib/stage/nsrun"
)

var update = flag.Bool("update", false, "write the prepared programs anew")

const preparedFile = "../entry/prepared.bin"

// prepared compiles what premain finds for plain options of nsrun.
func prepared(t *testing.T) string {
	t.Helper()
	programs := map[uint16]*entry.Builder{}
	for set := uint16(1); set < 1<<len(entry.PreparedOptions); set++ {
		words := "-"
		for i, option := range entry.PreparedOptions {
			if set&(1<<i) != 0 {
				words += string(option)
			}
		}
		program, err := chain.Prepare(nsrun.Tool, words, entry.PreparedUID, entry.PreparedGID)
		if err != nil {
			t.Fatal(err)
		}
		programs[set] = program
	}
	var names []string
	for _, tool := range All {
		names = append(names, tool.Name)
	}
	all, err := entry.Prepared(programs, append(names, nsrun.Inits...))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The programs that premain finds are those that the stage writes today.
func TestPrepared(t *testing.T) {
	want := prepared(t)
	if *update {
		if err := os.WriteFile(preparedFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(preparedFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("a step of nsrun has changed: go test ./lib/stages -run Prepared -update")
	}
}
