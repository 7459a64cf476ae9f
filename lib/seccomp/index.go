package seccomp

import "slices"

// A mention says that a rule is about a system call: the call's number, the rule's place
// in the profile, and the call's row in the table, so that sorting brings the rules for a
// call together, in their order.
type mention uint64

const maxRules = 1 << 16

func newMention(nr uint32, rule, row int) mention {
	return mention(nr)<<32 | mention(rule)<<16 | mention(row)
}

func (m mention) nr() uint32 { return uint32(m >> 32) }
func (m mention) rule() int  { return int(m >> 16 & 0xffff) }
func (m mention) row() int   { return int(m & 0xffff) }

// index lists what rules are about for an architecture, by number.
func (p *Profile) index(a Arch) []mention {
	if p.made != nil {
		return p.made[a]
	}
	var list []mention
	for i := range p.Rules {
		for _, name := range p.Rules[i].Names {
			row := find(name)
			if row < 0 {
				continue
			}
			c := &calls[row]
			if nr := c.nr[a]; nr >= 0 {
				list = append(list, newMention(uint32(nr), i, row))
			}
			if a == X86 && c.through != 0 {
				list = append(list, newMention(uint32(c.through), i, row))
			}
		}
	}
	slices.Sort(list)
	return list
}

// part is what a filter has for one architecture.
type part struct {
	arch   Arch
	other  Action // for calls that no rule is about
	rules  []Rule
	counts []bool // whether a rule counts on this machine
	index  []mention
	// last is the highest number that the profile has a rule for. What comes after it is
	// newer than the profile, and fails with ENOSYS if newer is true: programs then do
	// without it, as they do on an older kernel.
	last  uint32
	newer bool
}

// through tells that a call is made through another one.
func (p *part) through(m mention) bool {
	c := &calls[m.row()]
	return p.arch == X86 && c.through != 0 && m.nr() == uint32(c.through)
}

// lastCall finds the highest number of a rule that counts. One that can be called through
// another call is none of them, as with libseccomp.
func (p *part) lastCall() uint32 {
	for _, m := range slices.Backward(p.index) {
		if p.counts[m.rule()] && (p.arch != X86 || calls[m.row()].through == 0) {
			return m.nr()
		}
	}
	return 0
}

// speaks tells whether a mention makes a difference. A rule with the default's action says
// nothing, even where another rule is about the same call, as in runc.
func (p *part) speaks(m mention) bool {
	return p.counts[m.rule()] && p.rules[m.rule()].Action != p.other
}

// groups calls f for each call that a rule speaks of, with what mentions it: one alone, if
// that has no conditions and so covers all others.
func (p *part) groups(f func(alts []mention, always bool)) {
	for i := 0; i < len(p.index); {
		first, spoken, always := i, false, -1
		for ; i < len(p.index) && p.index[i].nr() == p.index[first].nr(); i++ {
			m := p.index[i]
			if !p.speaks(m) {
				continue
			}
			spoken = true
			if always < 0 && len(p.rules[m.rule()].Args) == 0 && !p.through(m) {
				always = i
			}
		}
		switch {
		case always >= 0:
			f(p.index[always:always+1], true)
		case spoken:
			f(p.index[first:i], false)
		}
	}
}

// alternatives calls f for each list of conditions among mentions of one call, the last
// first; all conditions in a list must be met.
func (p *part) alternatives(alts []mention, f func(m mention, args []Arg)) {
	for _, m := range slices.Backward(alts) {
		if !p.speaks(m) {
			continue
		}
		for _, args := range slices.Backward(split(p.rules[m.rule()].Args)) {
			if p.through(m) {
				args = calls[m.row()].throughArgs(args)
			}
			f(m, args)
		}
	}
}

// split makes lists of conditions that all must be met of a rule's.
func split(args []Arg) [][]Arg {
	var seen [6]bool
	for _, a := range args {
		if seen[a.Index] {
			var each [][]Arg
			for i := range args {
				each = append(each, args[i:i+1])
			}
			return each
		}
		seen[a.Index] = true
	}
	return [][]Arg{args}
}

// throughArgs are the conditions for a call that is made through another one. What its
// own argument 0 is cannot be seen then: it lies behind a pointer.
func (c *call) throughArgs(args []Arg) []Arg {
	through := []Arg{{Index: 0, Op: Equal, Value: uint64(c.sub)}}
	for _, a := range args {
		if a.Index != 0 {
			through = append(through, a)
		}
	}
	return through
}
