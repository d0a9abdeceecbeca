package broker

// generations is a set that forgets the oldest of what was added when it gets too large.
type generations struct {
	max      int // of each of the two
	new, old map[string]struct{}
}

func newGenerations(max int) generations {
	return generations{max: max / 2, new: make(map[string]struct{})}
}

func (g *generations) add(s string) {
	if len(g.new) >= g.max {
		g.old, g.new = g.new, make(map[string]struct{})
	}
	g.new[s] = struct{}{}
}

func (g *generations) has(s string) bool {
	_, isNew := g.new[s]
	_, isOld := g.old[s]
	return isNew || isOld
}
