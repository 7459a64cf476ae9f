package capdrop

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"staves/lib/caps"
	"staves/lib/diag"
	"staves/lib/entry"
)

// capshList reads names with commas between, or "all".
func capshList(text string) (caps.Set, error) {
	if text == "all" {
		now, err := caps.Read()
		return now.Supported(), err
	}
	var set caps.Set
	for name := range strings.SplitSeq(text, ",") {
		if name == "" {
			continue
		}
		n, err := caps.ParseName(name)
		if err != nil {
			return 0, err
		}
		set |= 1 << n
	}
	return set, nil
}

// with makes calls with a capability effective that they need, unless --strict is on.
func (c *capsh) with(n int, write func(b *entry.Builder)) error {
	now, err := caps.Of(0)
	if err != nil {
		return err
	}
	return call(func(b *entry.Builder) {
		if c.strict {
			write(b)
			return
		}
		caps.With(b, n, now, func() { write(b) })
	})
}

func (c *capsh) drop(text string) error {
	set, err := capshList(text)
	if err != nil || set == 0 {
		return err
	}
	return c.with(caps.SETPCAP, func(b *entry.Builder) { caps.DropBounding(b, set) })
}

// addAmbient fails for what is not permitted or not inheritable, with the reason.
func (c *capsh) addAmbient(text string) error {
	set, err := capshList(text)
	if err != nil {
		return err
	}
	err = call(func(b *entry.Builder) { caps.RaiseAmbient(b, set) })
	now, readErr := caps.Of(0)
	if err == nil || readErr != nil {
		return err
	}
	if missing := set &^ now.Permitted; missing != 0 {
		return diag.WithHint(err, fmt.Sprintf("what is ambient must be permitted, and %s is not: --keep=1 or --user keep it over a change of user", missing))
	}
	if missing := set &^ now.Inheritable; missing != 0 {
		return diag.WithHint(err, fmt.Sprintf("what is ambient must be inheritable: put --inh=%s before it", missing))
	}
	return err
}

func (c *capsh) delAmbient(text string) error {
	set, err := capshList(text)
	if err != nil {
		return err
	}
	return call(func(b *entry.Builder) { caps.LowerAmbient(b, set) })
}

// noAmbient makes no call where there is nothing to clear: it may be locked.
func (c *capsh) noAmbient(string) error {
	now, err := caps.Read()
	if err != nil || now.Ambient == 0 {
		return err
	}
	return call(caps.ClearAmbient)
}

// set sets the three sets. What is inheritable can be more than what is permitted with
// CAP_SETPCAP effective, so that is tried first.
func (c *capsh) set(sets caps.Sets) error {
	now, err := caps.Of(0)
	if err != nil {
		return err
	}
	return call(func(b *entry.Builder) {
		if !c.strict && now.Permitted.Has(caps.SETPCAP) {
			caps.SetThread(b, now.Permitted, now.Effective|1<<caps.SETPCAP, now.Inheritable)
		}
		caps.SetThread(b, sets.Permitted, sets.Effective, sets.Inheritable)
	})
}

func (c *capsh) setCaps(text string) error {
	sets, err := caps.ParseText(text)
	if err != nil {
		return err
	}
	return c.set(sets)
}

func (c *capsh) setInheritable(text string) error {
	now, err := caps.Of(0)
	if err != nil {
		return err
	}
	now.Inheritable = 0
	if text != "" && text != "none" {
		if now, err = caps.ParseText(now.String() + " " + text + "+i"); err != nil {
			return err
		}
	}
	return c.set(now)
}

// setIAB sets the sets that an execve carries over, in the order that lets most of them
// be set: what is to leave the bounding set can become inheritable before.
func (c *capsh) setIAB(text string) error {
	iab, err := caps.ParseIAB(text)
	if err != nil {
		return err
	}
	now, err := caps.Read()
	if err != nil {
		return err
	}
	drop := iab.Blocked & now.Bounding
	effective := now.Effective
	if drop != 0 || iab.Inheritable&^(now.Inheritable|now.Permitted) != 0 {
		effective |= 1 << caps.SETPCAP
	}
	return call(func(b *entry.Builder) {
		caps.SetThread(b, now.Permitted, effective, iab.Inheritable)
		caps.SetAmbient(b, iab.Ambient)
		caps.DropBounding(b, drop)
		caps.SetThread(b, now.Permitted, now.Effective, iab.Inheritable)
	})
}

// setMode leaves nothing effective, whatever the mode.
func (c *capsh) setMode(name string) error {
	mode, err := caps.ParseMode(name)
	if err != nil || name != mode.String() {
		return fmt.Errorf("%q is no mode: see --modes", name)
	}
	now, err := caps.Read()
	if err != nil {
		return err
	}
	if !now.Permitted.Has(caps.SETPCAP) {
		return fmt.Errorf("set mode %s: %s is not permitted: %w", mode, caps.Name(caps.SETPCAP), unix.EPERM)
	}
	want := now
	mode.Apply(&want)
	return call(func(b *entry.Builder) {
		caps.SetThread(b, now.Permitted, 1<<caps.SETPCAP, want.Inheritable)
		if want.Ambient != now.Ambient {
			caps.ClearAmbient(b)
		}
		caps.SetSecurebits(b, want.Securebits)
		caps.DropBounding(b, now.Bounding&^want.Bounding)
		if want.NoNewPrivs {
			caps.NoNewPrivs(b)
		}
		caps.SetThread(b, want.Permitted, 0, want.Inheritable)
	})
}

func (c *capsh) secbits(text string) error {
	n, err := capshNumber("secbits", text)
	if err != nil {
		return err
	}
	return call(func(b *entry.Builder) { caps.SetSecurebits(b, caps.Securebits(n)) })
}

func (c *capsh) noNewPrivs(string) error { return call(caps.NoNewPrivs) }

func (c *capsh) keep(text string) error {
	n, err := capshNumber("keep", text)
	if err != nil {
		return err
	}
	return call(func(b *entry.Builder) { caps.SetKeepCaps(b, int(n)) })
}

func (c *capsh) setStrict(string) error { c.strict = !c.strict; return nil }
