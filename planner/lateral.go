package planner

// lateralUnnest recognises FROM t, unnest(t.list), which DuckDB binds as a delim join over a row number:
//
//	DELIM_JOIN[row number = row number](WINDOW row_number() (t), GET unnest (PROJECTION (DELIM_GET)))
//
// and turns it into an unnest in the select list, which is row-local. Its output columns are t's, the row
// number, the element, then what the right side passes through; nothing reads the row number above the
// join, so it becomes NULL.
func (b *treeBuilder) lateralUnnest(n *planNode) (node, error) {
	refused := notYet("this lateral join has no incremental rule yet")
	if len(n.Children) != 2 || len(n.Conditions) != 1 || (n.JoinType != "INNER" && n.JoinType != "LEFT") {
		return nil, refused
	}
	left, right := n.Children[0], n.Children[1]
	if left.Type != "LOGICAL_WINDOW" || len(left.Expressions) != 1 || left.Expressions[0].Type != "WINDOW_ROW_NUMBER" ||
		right.Type != "LOGICAL_GET" || right.FunctionName != "unnest" || len(right.Children) != 1 {
		return nil, refused
	}
	proj := right.Children[0]
	if proj.Type != "LOGICAL_PROJECTION" || len(proj.Children) != 1 || proj.Children[0].Type != "LOGICAL_DELIM_GET" {
		return nil, refused
	}
	child, err := b.only(left)
	if err != nil {
		return nil, err
	}
	n0 := len(child.types())
	rowNumber := uint64(n0)
	if len(n.DuplicateEliminated) == 0 || n.DuplicateEliminated[0].Index != rowNumber {
		return nil, refused
	}
	local := make([]*expr, len(proj.Expressions)) // the right side's columns, over the left side's
	for i, e := range proj.Expressions {
		if local[i] = substituteDelim(e, n.DuplicateEliminated); local[i] == nil {
			return nil, refused
		}
	}
	list := local[0]
	if list.ReturnType == nil || list.ReturnType.ID != "LIST" {
		return nil, refused
	}
	if n.JoinType == "LEFT" {
		list = padEmpty(list)
	}
	elem := *list.ReturnType.Info.ChildType
	elemType, err := elem.vector()
	if err != nil {
		return nil, notYet("%v", err)
	}
	un := &unnest{child: child, lists: []*expr{list}}
	un.out = append(un.out, elemType)
	if err := b.check(child.types(), un.lists, false); err != nil {
		return nil, err
	}
	return b.lateralColumns(un, n0, elem, local[1:], rowNumber)
}

// lateralColumns lays the unnest's columns out as the delim join did.
func (b *treeBuilder) lateralColumns(un *unnest, n0 int, elem planType, passed []*expr, rowNumber uint64) (node, error) {
	bigint := planType{ID: "BIGINT"}
	null := &expr{Class: "BOUND_CONSTANT", ReturnType: &bigint, Value: &constant{Type: bigint, IsNull: true}}
	out := &project{child: un}
	for i := 0; i < n0; i++ {
		out.exprs = append(out.exprs, &expr{Class: "BOUND_REF", Index: uint64(i)})
	}
	out.exprs = append(out.exprs, null, &expr{Class: "BOUND_REF", Index: uint64(n0), ReturnType: &elem})
	for _, e := range passed {
		if e.Class == "BOUND_REF" && e.Index == rowNumber {
			e = null
		}
		out.exprs = append(out.exprs, e)
	}
	childTypes := un.types()
	for _, e := range out.exprs {
		if e.Class == "BOUND_REF" {
			out.out = append(out.out, childTypes[e.Index])
			continue
		}
		t, err := typeOf(e)
		if err != nil {
			return nil, notYet("%v", err)
		}
		out.out = append(out.out, t)
	}
	return out, nil
}

// substituteDelim copies e with every reference to the delim scan replaced by the left column that it
// stands for; nil if e holds something else that is not row-local.
func substituteDelim(e *expr, delim []*expr) *expr {
	if e == nil {
		return nil
	}
	if e.Class == "BOUND_COLUMN_REF" {
		if e.Binding == nil || e.Binding.Column >= len(delim) {
			return nil
		}
		ref := *delim[e.Binding.Column]
		return &ref
	}
	switch e.Class {
	case "BOUND_FUNCTION", "BOUND_CAST", "BOUND_CONSTANT", "BOUND_OPERATOR":
	default:
		return nil
	}
	out := *e
	out.Children = nil
	for _, c := range e.Children {
		s := substituteDelim(c, delim)
		if s == nil {
			return nil
		}
		out.Children = append(out.Children, s)
	}
	if e.Child != nil {
		if out.Child = substituteDelim(e.Child, delim); out.Child == nil {
			return nil
		}
	}
	return &out
}

// padEmpty makes an empty or NULL list into one NULL element, for LEFT JOIN unnest(…) ON true.
func padEmpty(list *expr) *expr {
	return &expr{Class: "SLUICE_PAD_EMPTY", Child: list, ReturnType: list.ReturnType}
}
