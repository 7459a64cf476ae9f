package chain

import (
	"fmt"

	"staves/lib/entry"
)

// Prepare writes down the system calls of a chain of one stage, all of them, for a caller
// with these ids: what [entry.Prepared] takes. It changes nothing.
func Prepare(tool *Tool, options string, uid, gid int) (*entry.Builder, error) {
	p := parser{tools: []*Tool{tool}}
	c := &Chain{State: State{Euid: uid, Egid: gid}}
	link, err := p.parse(c, tool, []string{options, "program"})
	if err != nil {
		return nil, err
	}
	if err := link.Stage.Check(c, link); err != nil {
		return nil, err
	}
	r := newRun(c, nil)
	var program entry.Builder
	for r.State.Done < len(r.steps) {
		if r.steps[r.State.Done].Do != nil {
			return nil, fmt.Errorf("%s %s: a step of Go", tool.Name, options)
		}
		if err := r.take(&program); err != nil {
			return nil, err
		}
		r.State.Done++
	}
	return &program, nil
}
