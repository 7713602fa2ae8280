package duck

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2/mapping"
)

// Error is what DuckDB said about a statement.
type Error struct {
	// Kind is DuckDB's class of the error: Parser, Binder, Catalog, Conversion, Constraint, Interrupt, ….
	Kind string
	// Message is DuckDB's text, without kind and source excerpt.
	Message string
	// Position is a byte offset in the SQL given, -1 if unknown.
	Position int
}

func (e *Error) Error() string { return strings.ToLower(e.Kind) + " error: " + e.Message }

// resultError makes an error of a failed result. An interrupt that a context asked for becomes that
// context's error.
func resultError(ctx context.Context, res *mapping.Result) error {
	return statementError(ctx, mapping.ResultError(res))
}

func statementError(ctx context.Context, msg string) error {
	e := newError(msg)
	if e.Kind == "Interrupt" && ctx.Err() != nil {
		return fmt.Errorf("statement interrupted: %w", context.Cause(ctx))
	}
	return e
}

// newError reads DuckDB's text: JSON, perhaps behind a "Kind Error: ", or (before the instance is set
// up) plain.
func newError(msg string) *Error {
	kind, rest, found := strings.Cut(msg, " Error: ")
	if !found || strings.ContainsAny(kind, "{\"\n") {
		kind, rest = "", msg
	}
	var j struct {
		Kind     string `json:"exception_type"`
		Message  string `json:"exception_message"`
		Position string `json:"position"`
	}
	if json.Unmarshal([]byte(rest), &j) == nil && j.Message != "" {
		return &Error{Kind: kindName(j.Kind), Message: j.Message, Position: position(j.Position)}
	}
	return &Error{Kind: kindName(kind), Message: rest, Position: -1}
}

func position(s string) int {
	if p, err := strconv.Atoi(s); err == nil && p >= 0 {
		return p
	}
	return -1
}

// kindName spells a kind in one way: DuckDB writes "INTERRUPT" here and "binder" there.
func kindName(s string) string {
	if s == "" {
		return "Unknown"
	}
	words := strings.Fields(strings.ToLower(s))
	for i, w := range words {
		if w != "of" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	if strings.EqualFold(s, "IO") {
		return "IO"
	}
	return strings.Join(words, " ")
}
