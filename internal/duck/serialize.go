package duck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// SerializePlan binds a query on the connection's tables and returns DuckDB's logical plan, not
// optimized, as JSON. What DuckDB says about the query comes back as an *Error. It plans statements other
// than SELECT, too, which SerializeSQL refuses.
func (c *Conn) SerializePlan(ctx context.Context, query string) ([]byte, error) {
	return c.serialize(ctx, query, "json_serialize_plan(%s, optimize := false)")
}

// SerializeSQL parses a query and returns its syntax tree as JSON. What DuckDB says about the query
// comes back as an *Error.
func (c *Conn) SerializeSQL(ctx context.Context, query string) ([]byte, error) {
	return c.serialize(ctx, query, "json_serialize_sql(%s)")
}

func (c *Conn) serialize(ctx context.Context, query, call string) ([]byte, error) {
	if err := usable(ctx, query); err != nil {
		return nil, err
	}
	text, ok, err := c.QueryValue(ctx, "SELECT CAST("+fmt.Sprintf(call, quote(query))+" AS VARCHAR)")
	if err != nil {
		// Positions would be those of our own statement.
		if e, is := err.(*Error); is {
			e.Position = -1
		}
		return nil, err
	}
	if !ok {
		return nil, &Error{Kind: "Serialization", Message: "duckdb returned no tree for the query", Position: -1}
	}
	out := []byte(text)
	if !bytes.HasPrefix(out, []byte(`{"error":true`)) {
		return out, nil
	}
	var e struct {
		Kind     string `json:"error_type"`
		Message  string `json:"error_message"`
		Position string `json:"position"`
	}
	if err := json.Unmarshal(out, &e); err != nil {
		return nil, fmt.Errorf("read duckdb's error: %w", err)
	}
	return nil, &Error{Kind: kindName(e.Kind), Message: e.Message, Position: position(e.Position)}
}
