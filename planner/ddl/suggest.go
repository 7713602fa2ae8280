package ddl

import "strings"

// Suggest returns the candidate that name is most likely a misspelling of, or "" if none is near. Case,
// and dashes for underscores, cost nothing.
func Suggest(name string, candidates []string) string {
	fold := func(s string) []rune {
		return []rune(strings.ReplaceAll(strings.ToLower(s), "-", "_"))
	}
	want := fold(name)
	best, bestCost := "", max(1, min(3, (len(want)+1)/3))+1
	for _, c := range candidates {
		if d := distance(want, fold(c)); d < bestCost {
			best, bestCost = c, d
		}
	}
	if best != "" || len(want) < 3 {
		return best
	}
	// Why: "batch_rows" for "max_batch_rows" is many edits away but plainly meant; the shortest wins.
	for _, c := range candidates {
		a, b := string(want), string(fold(c))
		if (strings.Contains(b, a) || len(b) >= 3 && strings.Contains(a, b)) && (best == "" || len(c) < len(best)) {
			best = c
		}
	}
	return best
}

// distance is the optimal string alignment distance: insertions, deletions, substitutions and swaps of
// neighbours.
func distance(a, b []rune) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
