package faulttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/pgtest"
)

// changeSQL keeps what is left of a changing source. %s: the key, the format, the file's name.
const changeSQL = `
SET max_batch_rows = 4;
CREATE SOURCE line (id BIGINT, amount DECIMAL(6,2), name VARCHAR%s)
WITH (connector = 'file', format = '%s', path = '%s');
CREATE MATERIALIZED VIEW kept AS SELECT * FROM line;
CREATE MATERIALIZED VIEW counted AS SELECT name, count(*) AS n, sum(amount) AS amount FROM line GROUP BY name;
`

var deep = strings.Repeat(`{"a":[`, 6_000)

var changelogLines = []badLine{
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": 2}`, ""},
	{`{"id": 2, "amount": 2.50, "name": "b", "_weight": 1}`, ""},
	{`{"id": 1, "amount": 1.50, "name": "a"}`, "the row has no _weight"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": null}`, "the row has no _weight"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": 0}`, "_weight is '0'"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": 0.5}`, "_weight is '0.5'"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": "1"}`, "_weight is"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": 9223372036854775808}`, "_weight is '9223372036854775808'"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": -99999999999999999999}`, "_weight is"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": {"n": 1}}`, "_weight is"},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": 1`, "malformed JSON"},
	{`{"x": ` + deep + `, "_weight": 1}`, "nested more than"},
	{`{"id": "one", "_weight": 1}`, "column id"},
	{`{"id": 2, "amount": 2.50, "name": "b", "_weight": -1}`, ""},
	{`{"id": 1, "amount": 1.50, "name": "a", "_weight": -1}`, ""},
	{`{"id": 3, "_weight": 2147483647}`, ""},
	{`{"id": 3, "_weight": -2147483646}`, ""},
}

var eventLines = []badLine{
	{`{"before": null, "after": {"id": 1, "amount": "MDk=", "name": "a"}, "op": "c"}`, ""},
	{`{"schema": null, "payload": {"after": {"id": 2, "amount": 2.5, "name": "b"}, "op": "r"}}`, ""},
	{`{"id": 1, "amount": 1.5, "name": "flat"}`, "the event has no op"},
	{`{"after": {"id": 3}}`, "the event has no op"},
	{`{"after": {"id": 3}, "op": "x"}`, "op is 'x'"},
	{`{"after": {"id": 3}, "op": "insert"}`, "op is 'insert'"},
	{`{"after": {"id": 3}, "op": 1}`, "op is '1'"},
	{`{"after": {"id": 3}, "op": "c"`, "malformed JSON"},
	{`{"after": "{\"id\": 3}", "op": "c"}`, "not an object"},
	{`{"after": null, "op": "c"}`, "op c needs a row after"},
	{`{"schema": {"fields": 7}, "payload": {"after": {"id": 3}, "op": "c"}}`, "the event's schema cannot be read"},
	{`{"schema": ` + deep + `, "payload": {"after": {"id": 3}, "op": "c"}}`, "nested more than"},
	{`{"after": {"id": 3, "x": ` + deep + `}, "op": "c"}`, "nested more than"},
	{`{"payload": 5}`, "the payload is"},
	{`{"op": "t", "source": {"table": "line"}}`, "a truncation (op t)"},
	{`{"op": "m", "message": {"prefix": "p"}}`, "-"},
	{`{"op": "c", "after": {"id": 3, "amount": "1.50"}}`, "not base64"},
	{`{"op": "c", "after": {"id": 3, "amount": "D0JAAA=="}}`, "amount"},
	{`{"op": "c", "after": {"id": 3, "name": "__debezium_unavailable_value"}}`, "does not have its value"},
	{`null`, "-"},
	{`[]`, "expected a change event"},
	{`{"op": "u", "before": {"id": 1, "amount": "MDk=", "name": "a"}, "after": {"id": 1, "amount": "MDo=", "name": "c"}}`, ""},
	{`{"op": "d", "before": {"id": 2, "amount": 2.5, "name": "b"}, "after": null}`, ""},
}

// incompleteLines are fine with a primary key only.
var incompleteLines = []badLine{
	{`{"op": "c", "after": {"id": 4, "name": "d"}}`, ""},
	{`{"op": "u", "before": null, "after": {"id": 4, "name": "e"}}`, "op u has no row before"},
	{`{"op": "d", "before": {"id": 4}}`, "op d: the row before does not have column amount"},
}

// TestBadChanges: what cannot be a change ends in the dead letters once, with its offset and the reason, and
// what is left of the rows is right; whether the run is cut short or not.
func TestBadChanges(t *testing.T) {
	const key = ", PRIMARY KEY (id) NOT ENFORCED"
	keyless := append(append([]badLine{}, eventLines...), incompleteLines...)
	keyed := append([]badLine{}, keyless...)
	for i := len(eventLines); i < len(keyed); i++ {
		keyed[i].reason = ""
	}
	keyed = append(keyed, badLine{`{"op": "d", "before": {"name": "e"}}`, "PRIMARY KEY is NULL or missing"}, badLine{`{"op": "c", "after": {"id": null}}`, "PRIMARY KEY is NULL or missing"})
	for _, tc := range []struct {
		name, key, format string
		lines             []badLine
		want              []string
	}{
		{"changelog", "", "changelog", changelogLines, []string{"∅|1|∅", "a|1|1.50"}},
		{"debezium", "", "debezium", keyless, []string{"c|1|123.46", "d|1|∅"}},
		{"debezium keyed", key, "debezium", keyed, []string{"c|1|123.46"}},
	} {
		for _, spec := range []string{"", "batch.after_prepare=exit:2"} {
			t.Run(tc.name+" "+spec, func(t *testing.T) {
				t.Parallel()
				text, want, _ := layOut("", tc.lines)
				p := newPipeline(t, pgtest.URL(t), fmt.Sprintf(changeSQL, tc.key, tc.format, "changes.ndjson"), map[string][]byte{"changes.ndjson": text})
				if spec != "" {
					p.crashed(t, spec)
				}
				p.mustRun(t)
				p.verify(t)
				p.replay(t)
				p.checkDeadLetters(t, want)
				got := pgtest.Rows(t, p.url, "SELECT coalesce(name, '∅'), n, coalesce(amount::text, '∅') FROM counted ORDER BY name COLLATE \"C\" NULLS FIRST")
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("counted (-want +got):\n%s", diff)
				}
			})
		}
	}
}
