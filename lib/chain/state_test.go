package chain

import (
	"reflect"
	"testing"
)

func TestStateSurvives(t *testing.T) {
	for _, c := range []*Chain{
		{},
		{State: State{Done: 7, Euid: 1000, Egid: 5, Root: "/new root", Net: "10.0.0.2/24", Mnt: true}, facts: []fact{{UserNS, before}, {Root, 2}, {UserNS, 3}}, ids: []ids{{0, 1, 2}, {3, 0, 0}}},
		{State: State{Root: "/a\x01b\x02c\n", Clean: []string{"cgset", "", "/sys/fs/cgroup/x\x01y"}, kept: [][2]string{{"a", "\x00b\x00"}, {"", ""}}}, facts: []fact{{PidNS, 0}}},
	} {
		got := &Chain{}
		if err := got.decode(c.encode()); err != nil {
			t.Errorf("%+v: %v", c.State, err)
		} else if !reflect.DeepEqual(got, c) {
			t.Errorf("%+v %v\nbecame %+v %v", c.State, c.facts, got.State, got.facts)
		}
	}
}

func TestDamagedState(t *testing.T) {
	good := (&Chain{State: State{Clean: []string{"x"}}, facts: []fact{{Root, 1}}}).encode()
	for n := range len(good) {
		if err := (&Chain{}).decode(good[:n]); err == nil {
			t.Errorf("%q is no state, but was taken for one", good[:n])
		}
	}
	if err := (&Chain{}).decode(good + "more\x00"); err == nil {
		t.Error("a state with more behind it was taken for one")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("0\x000\x000\x00\x00\x00false\x000\x000\x000\x000\x00")
	f.Add("1\x000\x000\x00/r\x00\x00true\x001\x002\x00root\x001\x001\x002\x003\x001\x00w\x001\x00key\x002\x00v\x00\x00")
	f.Fuzz(func(t *testing.T, s string) {
		c := &Chain{}
		if c.decode(s) != nil {
			return
		}
		again := &Chain{}
		if err := again.decode(c.encode()); err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("%q: %+v, then %+v (%v)", s, c.State, again.State, err)
		}
	})
}
