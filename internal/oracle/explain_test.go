package oracle_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-sql/sluice/planner"
)

const explainedPipeline = `CREATE SOURCE bid (auction BIGINT, price BIGINT, who VARCHAR) WITH (connector = 'test');
CREATE SOURCE item (id BIGINT, name VARCHAR) WITH (connector = 'test');
CREATE VIEW per_auction AS SELECT auction, count(*) AS n, sum(price) AS total FROM bid GROUP BY auction;
CREATE MATERIALIZED VIEW busy AS SELECT auction, n FROM per_auction WHERE n > 3;
CREATE MATERIALIZED VIEW rich AS SELECT name, total FROM per_auction JOIN item ON auction = id;
CREATE MATERIALIZED VIEW cheaper AS SELECT a.name, b.who FROM item a JOIN bid b ON a.id < b.price;
CREATE MATERIALIZED VIEW above AS SELECT auction FROM bid WHERE price > (SELECT avg(price) FROM bid);
CREATE MATERIALIZED VIEW ranks AS SELECT who, rank() OVER (ORDER BY price) AS r FROM bid;
CREATE MATERIALIZED VIEW top AS SELECT auction, price FROM bid ORDER BY price DESC, auction LIMIT 3;
CREATE MATERIALIZED VIEW deep AS WITH RECURSIVE r AS (SELECT id FROM item UNION SELECT id + 1 FROM r WHERE id < 5) SELECT id FROM r;
CREATE SINK rich_log FROM rich WITH (connector = 'stdout');
`

// TestExplainMarksWhatGrows: an operator whose batches cost more the more state there is says so; no other
// does.
func TestExplainMarksWhatGrows(t *testing.T) {
	p := plan(t, "explain.sql", explainedPipeline)
	grows := map[string]bool{"cheaper": true, "above": true, "ranks": true, "deep": true}
	for _, v := range p.Views {
		if got := marked(v.Explain); got != grows[v.Name] {
			t.Errorf("view %s: marked %t, want %t", v.Name, got, grows[v.Name])
		}
	}
	var b strings.Builder
	if err := planner.WriteExplain(&b, p); err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Program.States {
		if p.Program.Access(s) == "" {
			t.Errorf("nothing reads state %s", s.Name)
		}
	}
	for _, want := range []string{"key auction\n", ": unique lookup; grows with", ": prefix lookup; at most 3 rows a partition", "│ ! scans _cheaper_rows", "! every batch reads all of _all"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func marked(ex *planner.Explain) bool {
	return len(ex.Scans) > 0 || slices.ContainsFunc(ex.Children, marked)
}

// TestDotIsAGraph: every end of an edge is a node, every node is there once, and so is what views share.
func TestDotIsAGraph(t *testing.T) {
	p := plan(t, "explain.sql", explainedPipeline)
	var b strings.Builder
	if err := planner.WriteDot(&b, p); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	nodes := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^  (\w+|"[^"]*") \[label=.*\];$`).FindAllStringSubmatch(text, -1) {
		nodes[m[1]]++
	}
	for id, n := range nodes {
		if n > 1 {
			t.Errorf("node %s is there %d times", id, n)
		}
	}
	edges := regexp.MustCompile(`(?m)^  (\w+|"[^"]*") -> (\w+|"[^"]*")( \[.*\])?;$`).FindAllStringSubmatch(text, -1)
	for _, m := range edges {
		if nodes[m[1]] == 0 || nodes[m[2]] == 0 {
			t.Errorf("edge %s -> %s has an end that is no node", m[1], m[2])
		}
	}
	if got := strings.Count(text, `[label="aggregate\lstateful, upsert, key auction\l`); got != 1 {
		t.Errorf("the shared aggregate is there %d times", got)
	}
	for _, s := range p.Program.States {
		if nodes[`"state `+s.Name+`"`] != 1 {
			t.Errorf("state %s is not there", s.Name)
		}
	}
	for _, name := range []string{`"source bid"`, `"source item"`, "sink0"} {
		if nodes[name] != 1 {
			t.Errorf("%s is not there", name)
		}
	}
	if got, want := strings.Count(text, "\n"), 5+len(nodes)+len(edges); t.Failed() || got != want {
		t.Errorf("%d lines, want %d\n%s", got, want, text)
	}
}

// TestSharedLossIsSaid: what state_ttl may take from a sub-plan, every view over it says.
func TestSharedLossIsSaid(t *testing.T) {
	p := plan(t, "ttl.sql", `SET state_ttl = '1 hour';
CREATE SOURCE bid (auction BIGINT, price BIGINT) WITH (connector = 'test');
CREATE SOURCE item (id BIGINT, name VARCHAR) WITH (connector = 'test');
CREATE VIEW sold AS SELECT name, price FROM bid JOIN item ON auction = id;
CREATE VIEW best AS SELECT name, max(price) AS most FROM sold GROUP BY name;
CREATE MATERIALIZED VIEW tops AS SELECT most, count(*) AS n FROM best GROUP BY most;
CREATE MATERIALIZED VIEW high AS SELECT most % 10 AS m, count(*) AS n FROM best GROUP BY m;
`)
	if len(p.Views) != 2 || p.Views[0].Loses == "" || p.Views[0].Loses != p.Views[1].Loses {
		t.Errorf("the views say %q and %q", p.Views[0].Loses, p.Views[1].Loses)
	}
	if p.Views[1].Fallback != "" || len(p.Program.States) != 5 {
		t.Errorf("%d states; the second view should share the first's join and aggregate", len(p.Program.States))
	}
}
