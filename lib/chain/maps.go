package chain

// An IDRange maps Count ids: Inner, of a user namespace, and those after it, to Outer, of
// the one around it, and those after it.
type IDRange struct{ Inner, Outer, Count uint32 }

// IDMaps are the maps of a user namespace that a stage makes: known before it is made.
type IDMaps struct{ Users, Groups []IDRange }

// SetMaps records the maps of the user namespace that link makes.
func (c *Chain) SetMaps(link *Link, m IDMaps) {
	if c.maps == nil {
		c.maps = map[*Link]IDMaps{}
	}
	c.maps[link] = m
}

// Maps are the maps of the user namespace that maker, a stage of this chain before link,
// makes. It answers in [Stage.Check], and in the steps of [Ahead] with Do.
func (c *Chain) Maps(link *Link) (m IDMaps, maker *Link, ok bool) {
	place, made := c.last(UserNS, c.place(link))
	if !made || place == before {
		return m, nil, false
	}
	m, ok = c.maps[c.Links[place]]
	return m, c.Links[place], ok
}
