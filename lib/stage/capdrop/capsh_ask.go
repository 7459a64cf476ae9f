package capdrop

import (
	"fmt"

	"staves/lib/caps"
)

// Questions: the answer no is an error.

// ask looks for the capability called name in the set that of picks.
func ask(name, no string, of func(s *caps.State) caps.Set) error {
	n, err := caps.ParseName(name)
	if err != nil {
		return err
	}
	now, err := caps.Read()
	if err != nil {
		return err
	}
	// Of a set that the kernel does not have, there is nothing to miss.
	if set := of(&now); set.Has(n) {
		return nil
	}
	return fmt.Errorf("%s %s", name, no)
}

func (c *capsh) hasPermitted(name string) error {
	return ask(name, "is not permitted", func(s *caps.State) caps.Set { return s.Permitted })
}

func (c *capsh) hasInheritable(name string) error {
	return ask(name, "is not inheritable", func(s *caps.State) caps.Set { return s.Inheritable })
}

// The library asks the kernel of the ambient and the bounding set by prctl(2), whose
// failure for a capability that does not exist it takes for yes.

func (c *capsh) hasAmbient(name string) error {
	return ask(name, "is not ambient", func(s *caps.State) caps.Set { return s.Ambient | ^s.Supported() })
}

func (c *capsh) hasBounding(name string) error {
	return ask(name, "is not in the bounding set", func(s *caps.State) caps.Set { return s.Bounding | ^s.Supported() })
}

func (c *capsh) dropped(name string) error {
	return ask(name, "is in the bounding set", func(s *caps.State) caps.Set { return ^s.Bounding })
}

func (c *capsh) supports(name string) error {
	return ask(name, "does not exist in this kernel", func(s *caps.State) caps.Set { return s.Supported() })
}

// ambientExists: Linux has had ambient sets since 4.3.
func (c *capsh) ambientExists(string) error { return nil }

func (c *capsh) hasNoNewPrivs(string) error {
	now, err := caps.Read()
	if err == nil && !now.NoNewPrivs {
		err = fmt.Errorf("no_new_privs is not set")
	}
	return err
}

func (c *capsh) inMode(name string) error {
	now, err := caps.Read()
	if err == nil && now.Mode().String() != name {
		err = fmt.Errorf("the mode is %s, not %s", now.Mode(), name)
	}
	return err
}

func (c *capsh) isUID(text string) error {
	id, err := capshNumber("is-uid", text)
	if err != nil {
		return err
	}
	now, err := caps.Read()
	if err == nil && now.UID[0] != id {
		err = fmt.Errorf("the user is %d, not %d", now.UID[0], id)
	}
	return err
}

func (c *capsh) isGID(text string) error {
	id, err := capshNumber("is-gid", text)
	if err != nil {
		return err
	}
	now, err := caps.Read()
	if err == nil && now.GID[0] != id {
		err = fmt.Errorf("the group is %d, not %d", now.GID[0], id)
	}
	return err
}
