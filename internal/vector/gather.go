package vector

// Filter returns the rows of c whose keep is true, in order. It shares c's texts (and keeps c's
// memory alive), so it is valid as long as c is.
func Filter(c *Chunk, keep []bool) *Chunk {
	sel := make([]int32, 0, c.N)
	for i, k := range keep[:c.N] {
		if k {
			sel = append(sel, int32(i))
		}
	}
	return Gather(c, sel)
}

// Gather returns rows sel of c, in that order; a row may be named more than once, -1 gives a row of
// NULLs. It shares c's texts (and keeps c's memory alive), so it is valid as long as c is.
func Gather(c *Chunk, sel []int32) *Chunk {
	out := &Chunk{N: len(sel), Cols: make([]Vector, len(c.Cols)), Keep: append([]any{c}, c.Keep...)}
	for i := range c.Cols {
		out.Cols[i] = gather(&c.Cols[i], sel, len(sel), nil)
	}
	return out
}

// Slice returns rows [from, to) of c. It shares c's memory, so it is valid as long as c is.
func (c *Chunk) Slice(from, to int) *Chunk {
	out := &Chunk{N: to - from, Cols: make([]Vector, len(c.Cols)), Keep: append([]any{c}, c.Keep...)}
	for i := range c.Cols {
		out.Cols[i] = slice(&c.Cols[i], from, to)
	}
	return out
}

func slice(v *Vector, from, to int) Vector {
	out := Vector{Type: v.Type, Children: v.Children}
	w := v.Type.Bytes()
	if w > 0 {
		out.Data = v.Data[from*w : to*w : to*w]
	}
	if v.Valid != nil {
		out.Valid = AllValid(to - from)
		for i := from; i < to; i++ {
			if v.IsNull(i) {
				out.SetNull(i-from, to-from)
			}
		}
	}
	switch v.Type.Kind {
	case Array:
		out.Children = []Vector{slice(&v.Children[0], from*v.Type.Size, to*v.Type.Size)}
	case Struct, Union:
		out.Children = make([]Vector, len(v.Children))
		for i := range v.Children {
			out.Children[i] = slice(&v.Children[i], from, to)
		}
	}
	return out
}

// gather builds an owned vector of rows sel of v (nil: all n); texts are copied into texts, or
// shared if that is nil.
func gather(v *Vector, sel []int32, n int, texts *Arena) Vector {
	sel, nulls := resolve(v, sel, n)
	out := Vector{Type: v.Type}
	if nulls {
		out.Valid = AllValid(n)
		for i, r := range sel {
			if r < 0 {
				out.SetNull(i, n)
			}
		}
	}
	w := v.Type.Bytes()
	switch v.Type.Kind {
	case List, Map:
		elems, lengths := elements(v, sel, n)
		out.Data = alignedBytes(n * w)
		off := 0
		for i, length := range lengths {
			out.PutEntry(i, off, max(0, int(length)))
			off += max(0, int(length))
		}
		out.Children = []Vector{gather(&v.Children[0], elems, len(elems), texts)}
	case Array:
		out.Children = []Vector{gather(&v.Children[0], arraySelection(v.Type.Size, sel, n), n*v.Type.Size, texts)}
	case Struct, Union:
		out.Children = make([]Vector, len(v.Children))
		for m := range v.Children {
			s := sel
			if v.Type.Kind == Union && m > 0 {
				s = memberSelection(v, m, sel, n)
			}
			out.Children[m] = gather(&v.Children[m], s, n, texts)
		}
	default:
		out.Data = alignedBytes(n * w)
		gatherFixed(&out, v, sel, texts)
	}
	return out
}

func gatherFixed(out, v *Vector, sel []int32, texts *Arena) {
	w := v.Type.Bytes()
	if sel == nil {
		copy(out.Data, v.Data[:len(out.Data)])
	} else {
		for i, r := range sel {
			if r >= 0 {
				copy(out.Data[i*w:i*w+w], v.Data[int(r)*w:int(r)*w+w])
			}
		}
	}
	if texts == nil || !v.Type.IsString() {
		return
	}
	for i := range len(out.Data) / w {
		if out.U32(i*4) > inlineLen {
			out.PutStr(i, texts.Copy(out.Str(i)))
		}
	}
}
