package decode

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-sql/sluice/internal/vector"
	"github.com/sluice-sql/sluice/planner"
)

// addAll decodes messages, numbered as their offsets are, and returns rows with weight and sequence, and reasons.
func addAll(t testing.TB, o MessageOptions, msgs ...Message) (rows, bad []string) {
	t.Helper()
	d, err := NewMessages(o)
	if err != nil {
		t.Fatal(err)
	}
	b := o.Builder()
	for i := range msgs {
		msgs[i].Offset = int64(i)
		if err := d.Add(&msgs[i], b); err != nil {
			t.Fatal(err)
		}
		for _, s := range [][]byte{msgs[i].Key, msgs[i].Value} {
			for j := range s {
				s[j] = '#' // nothing refers to a message's bytes
			}
		}
	}
	for _, x := range b.Bad {
		bad = append(bad, fmt.Sprintf("@%d %s", x.Offset, x.Reason))
	}
	return chunkRows(b.Finish(), len(o.Fields), o.Changes != planner.AppendOnly), bad
}

func chunkRows(chunks []*vector.Chunk, cols int, weighted bool) (rows []string) {
	for _, c := range chunks {
		for i := range c.N {
			var cells []string
			for j := range cols {
				cells = append(cells, vector.Text(&c.Cols[j], i))
			}
			row := strings.Join(cells, " | ")
			if weighted {
				row = fmt.Sprintf("%+d %s", c.Cols[cols].I64(i), row)
			}
			rows = append(rows, fmt.Sprintf("%s @%d", row, c.Cols[len(c.Cols)-1].I64(i)))
		}
	}
	return rows
}

func values(texts ...string) (msgs []Message) {
	for _, s := range texts {
		msgs = append(msgs, Message{Value: []byte(s)})
	}
	return msgs
}

func keyed(pairs ...string) (msgs []Message) {
	bytesOf := func(s string) []byte {
		if s == "-" {
			return nil
		}
		return []byte(s)
	}
	for i := 0; i < len(pairs); i += 2 {
		msgs = append(msgs, Message{Key: bytesOf(pairs[i]), Value: bytesOf(pairs[i+1])})
	}
	return msgs
}

const longText = "a text longer than twelve"

func TestMessages(t *testing.T) {
	text, blob := []vector.Field{{Name: "v", Type: vector.Of(vector.Varchar)}}, []vector.Field{{Name: "v", Type: vector.Of(vector.Blob)}}
	pair := []vector.Field{{Name: "k", Type: vector.Of(vector.Varchar)}, {Name: "v", Type: vector.Of(vector.Varchar)}}
	for _, tc := range []struct {
		name      string
		opt       MessageOptions
		msgs      []Message
		rows, bad []string
	}{
		{"json", MessageOptions{Format: "json", Fields: abFields},
			values(`{"a":1,"b":"`+longText+`","c":1.5}`, "{\n  \"a\": 2,\r\n  \"b\": \"x\\ny\"\n}\n", "\n", "", `{"a":3} {"a":4}`, "{\"b\":\"x\ny\"}", `{"a":5`, "null", `{"b":"q\"{\n"}`),
			[]string{"1 | " + longText + " | 1.5 @0", "2 | x\ny | NULL @1", "NULL | NULL | NULL @7", "NULL | q\"{\n | NULL @8"},
			[]string{"@2 malformed JSON: the message ends where a value is expected", "@3 malformed JSON: the message ends where a value is expected",
				"@4 unexpected content after the object: one object a message is expected", "@5 malformed JSON: the message ends inside a string",
				"@6 malformed JSON: the message ends where ',' or '}' is expected"}},
		{"json behind a schema id", MessageOptions{Format: "json", Fields: abFields}, values("\x00\x00\x00\x00\x07{\"a\":1}", "\x00\x00\x00\x00\x07"),
			[]string{"1 | NULL | NULL @0"}, []string{"@1 malformed JSON: expected a value, found '\x00\x00\x00\x00\a'"}},
		{"json without values", MessageOptions{Format: "json", Fields: abFields}, keyed("k", "-", "-", "-"), nil,
			[]string{"@0 the message has no value: such messages delete the row of their key, which takes a source with PRIMARY KEY (…) NOT ENFORCED",
				"@1 the message has no value: such messages delete the row of their key, which takes a source with PRIMARY KEY (…) NOT ENFORCED"}},
		{"json, keyed", MessageOptions{Format: "json", Fields: abFields, Changes: planner.Keyed, Key: []int{0}},
			keyed(`{"a":1}`, `{"a":1,"b":"x"}`, `{"a":1}`, "-", "-", "-", "{}", "-", "1", "-", "x", `{"b":"x"}`),
			[]string{"+1 1 | x | NULL @0", "-1 1 | NULL | NULL @1"},
			[]string{"@2 the message has neither a value nor a key", "@3 the key of a message without a value: column a: a column of the PRIMARY KEY is NULL or missing",
				"@4 the key of a message without a value: expected an object, found '1'", "@5 column a: a column of the PRIMARY KEY is NULL or missing"}},
		{"json, keyed by text", MessageOptions{Format: "json", KeyFormat: "text", Fields: abFields, Changes: planner.Keyed, Key: []int{0}},
			keyed(`1`, `{"a":1,"b":"x"}`, `1`, "-", "x", "-", "1\x00", "-"),
			[]string{"+1 1 | x | NULL @0", "-1 1 | NULL | NULL @1"},
			[]string{"@2 the key of a message without a value: column a: 'x' is not a BIGINT",
				"@3 the key of a message without a value: column a: the text has a NUL character, which Postgres cannot store"}},
		{"changelog", MessageOptions{Format: "changelog", Fields: abFields, Changes: planner.Weighted},
			append(values(`{"a":1,"_weight":2}`, `{"a":1}`), Message{Key: []byte("k")}), []string{"+2 1 | NULL | NULL @0"},
			[]string{"@1 the row has no _weight: write 1 to insert it, -1 to delete it", "@2 the message has no value, and so no _weight"}},
		{"text", MessageOptions{Format: "text", Fields: text}, append(values("", "x", longText, "\xff", "a\x00"), Message{}),
			[]string{" @0", "x @1", longText + " @2", "NULL @5"},
			[]string{"@3 column v: the text is not valid UTF-8", "@4 column v: the text has a NUL character, which Postgres cannot store"}},
		{"bytes", MessageOptions{Format: "bytes", Fields: blob}, append(values("", "\xff\x00", longText), Message{}),
			[]string{" @0", `\xFF\x00 @1`, longText + " @2", "NULL @3"}, nil},
		{"text, keyed by metadata", MessageOptions{Format: "text", Fields: pair, Metadata: []string{"key", ""}, Changes: planner.Keyed, Key: []int{0}},
			keyed("a", "1", "a", "-", "-", "2", "-", "-", longText, longText, "\xff", "x"),
			[]string{"+1 a | 1 @0", "-1 a | NULL @1", "+1 " + longText + " | " + longText + " @4"},
			[]string{"@2 column k: a column of the PRIMARY KEY is NULL or missing", "@3 column k: a column of the PRIMARY KEY is NULL or missing", "@5 column k: the text is not valid UTF-8"}},
		{"csv", MessageOptions{Format: "csv", Fields: abFields},
			values("1,x,1.5", "2,\"a \"\"text\"\" longer\nthan twelve\",", "3,y,2.5\r\n", "4,z", "1,x,1\n2,y,2", "5,\"x", "", "a,b,c"),
			[]string{"1 | x | 1.5 @0", "2 | a \"text\" longer\nthan twelve | NULL @1", "3 | y | 2.5 @2"},
			[]string{"@3 expected 3 fields, found 2", "@4 the message has more than one record", "@5 a quoted field is not closed", "@6 expected 3 fields, found 1", "@7 column a: 'a' is not a BIGINT"}},
		{"csv, another dialect", MessageOptions{Format: "csv", Fields: abFields, CSV: CSVDialect{Delimiter: '\t', Quote: '\'', Escape: '\\', Null: "NULL"}},
			values("1\t'it\\'s'\tNULL"), []string{"1 | it's | NULL @0"}, nil},
		{"too long", MessageOptions{Format: "json", Fields: abFields, MaxBytes: 10}, values(`{"a":1}`, `{"a":1,"b":"x"}`), []string{"1 | NULL | NULL @0"},
			[]string{"@1 the message is 15 bytes long, and max_row_bytes is 10"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rows, bad := addAll(t, tc.opt, tc.msgs...)
			if diff := cmp.Diff(tc.rows, rows); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.bad, bad); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}

// Events mean the same one by one as in a file, except that those of a keyed source count sequences in twos.
func TestDebeziumMessages(t *testing.T) {
	for name, key := range map[string][]int{"plain": nil, "keyed": {0}} {
		t.Run(name, func(t *testing.T) {
			o := MessageOptions{Format: "debezium", Fields: abFields, Key: key, Changes: planner.Weighted}
			if key != nil {
				o.Changes = planner.Keyed
			}
			var events, wantRows, wantBad []string
			for i, tc := range debeziumCases {
				events = append(events, tc.event)
				want := tc.plain
				if key != nil {
					want = tc.keyed
				}
				if tc.event == "" {
					wantBad = append(wantBad, fmt.Sprintf("@%d expected a change event", i))
				} else if reason, refused := strings.CutPrefix(want, "!"); refused {
					wantBad = append(wantBad, fmt.Sprintf("@%d %s", i, reason))
				} else if want != "" {
					for n, row := range strings.Split(want, "; ") {
						seq := i
						if key != nil {
							seq = 2*i + n
						}
						wantRows = append(wantRows, fmt.Sprintf("%s @%d", row, seq))
					}
				}
			}
			for _, pretty := range []bool{false, true} {
				msgs := values(events...)
				for i := range msgs {
					if pretty {
						msgs[i].Value = []byte(strings.NewReplacer(`,"`, ",\n  \"", `":`, "\":\n").Replace(string(msgs[i].Value)))
					}
				}
				rows, bad := addAll(t, o, msgs...)
				if diff := cmp.Diff(wantRows, rows); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
				for i := range max(len(bad), len(wantBad)) {
					if i >= len(bad) || i >= len(wantBad) || !pretty && wantBad[i] != fmt.Sprintf("@%d expected a change event", i) && !strings.HasPrefix(bad[i], wantBad[i]) && !strings.Contains(wantBad[i], "expected a change event") {
						t.Errorf("reasons:\n%s\nwant\n%s", strings.Join(bad, "\n"), strings.Join(wantBad, "\n"))
						break
					}
				}
			}
		})
	}
}

// Tombstones say nothing, and a deletion without an image before takes the message's key.
func TestDebeziumKeys(t *testing.T) {
	keySchema := `{"schema":{"type":"struct","fields":[{"type":"int32","optional":false,"name":"io.debezium.time.Date","field":"d"}],"name":"k"},"payload":{"d":19723}}`
	o := MessageOptions{Format: "debezium", Fields: []vector.Field{{Name: "d", Type: vector.Of(vector.Date)}, {Name: "b", Type: vector.Of(vector.Varchar)}}, Key: []int{0}, Changes: planner.Keyed}
	rows, bad := addAll(t, o, keyed(
		keySchema, `{"op":"d","before":null}`,
		keySchema, `-`,
		" {\"d\":\n19724} ", `{"op":"d"}`,
		`-`, `{"op":"d"}`,
		`19723`, `{"op":"d"}`,
		`{"d":1`, `{"op":"d"}`,
		`{}`, `{"op":"d"}`,
		`{"d":1} 2`, `{"op":"d"}`,
	)...)
	if diff := cmp.Diff([]string{"-1 2024-01-01 | NULL @0", "-1 2024-01-02 | NULL @4"}, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"@3 op d needs the key in before", "@4 the message's key: expected an object with the primary key, found '19723'",
		"@5 the message's key: malformed JSON: the message ends where ',' or '}' is expected", "@6 column d: a column of the PRIMARY KEY is NULL or missing",
		"@7 the message's key: unexpected content after the object: one object a message is expected"}, bad); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

func TestMessageMetadata(t *testing.T) {
	text, blob := vector.Of(vector.Varchar), vector.Of(vector.Blob)
	mapOf := func(v vector.Type) vector.Type {
		e := vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: text}, {Name: "value", Type: v}}}
		return vector.Type{Kind: vector.Map, Elem: &e}
	}
	o := MessageOptions{Format: "json", Metadata: []string{"partition", "offset", "", "timestamp", "key", "headers", "topic", "partition", "headers"}, Fields: []vector.Field{
		{Name: "p", Type: vector.Of(vector.Int32)}, {Name: "o", Type: vector.Of(vector.Int64)}, {Name: "v", Type: vector.ListOf(text)},
		{Name: "ts", Type: vector.Of(vector.TimestampTZ)}, {Name: "k", Type: blob}, {Name: "h", Type: mapOf(text)}, {Name: "t", Type: text},
		{Name: "p8", Type: vector.Of(vector.Int64)}, {Name: "hb", Type: mapOf(blob)},
	}}
	rows, bad := addAll(t, o,
		Message{Value: []byte(`{"v":["a","` + longText + `"],"p":9}`), Partition: 7, Timestamp: 1704190272123456, Key: []byte(longText), Topic: "orders",
			Headers: []Header{{"a", []byte("1")}, {"b", nil}, {"a", []byte(longText)}}},
		Message{Value: []byte(`{"v":null}`), Headers: []Header{{"a", []byte("\xff")}}},
		Message{Value: []byte(`{"v":["x"`), Headers: []Header{{"a", []byte("z")}}},
		Message{Value: []byte(`{}`)},
	)
	want := []string{
		"7 | 0 | [\"a\",\"" + longText + "\"] | 2024-01-02 10:11:12.123456+00 | " + longText + ` | {"b":null,"a":"` + longText + `"} | orders | 7 | {"b":null,"a":"` + longText + `"} @0`,
		"0 | 3 | NULL | 1970-01-01 00:00:00+00 | NULL | {} |  | 0 | {} @3",
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"@1 column h: the text is not valid UTF-8", "@2 malformed JSON: the message ends where ',' or ']' is expected"}, bad); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

func TestMessageOptions(t *testing.T) {
	text := vector.Of(vector.Varchar)
	two := []vector.Field{{Name: "a", Type: text}, {Name: "b", Type: vector.Of(vector.Int32)}}
	for _, tc := range []struct {
		name, want string
		opt        MessageOptions
	}{
		{"no format", "format = '' is not known", MessageOptions{Fields: two}},
		{"key format", "key_format = 'csv' is not known", MessageOptions{Format: "json", KeyFormat: "csv", Fields: two}},
		{"no columns", "no columns are declared but those of metadata", MessageOptions{Format: "json", Fields: two[:1], Metadata: []string{"key"}}},
		{"two columns of text", "format = 'text' needs one column", MessageOptions{Format: "text", Fields: two}},
		{"text in an integer", "column b: a message of format text is a VARCHAR, not an INTEGER", MessageOptions{Format: "text", Fields: two[1:]}},
		{"bytes in text", "column a: a message of format bytes is a BLOB, not a VARCHAR", MessageOptions{Format: "bytes", Fields: two[:1]}},
		{"unknown metadata", "column a: there is no metadata 'ofset'", MessageOptions{Format: "json", Fields: two, Metadata: []string{"ofset"}}},
		{"metadata's type", "column b: the metadata 'offset' is not an INTEGER\nHint: declare it BIGINT", MessageOptions{Format: "json", Fields: two, Metadata: []string{"", "offset"}}},
		{"headers' type", "column a: the metadata 'headers' is not a VARCHAR", MessageOptions{Format: "json", Fields: two, Metadata: []string{"headers"}}},
		{"weighted metadata", "column b: rows that are deleted by value cannot have the metadata 'partition'", MessageOptions{Format: "changelog", Changes: planner.Weighted, Fields: two, Metadata: []string{"", "partition"}}},
		{"key of events", "column a: the primary key of change events is in the events", MessageOptions{Format: "debezium", Changes: planner.Keyed, Key: []int{0}, Fields: two, Metadata: []string{"key"}}},
		{"two key columns of text", "key_format = 'text' is one column, and the primary key has 2", MessageOptions{Format: "csv", Changes: planner.Keyed, Key: []int{0, 1}, Fields: two}},
		{"reserved", "column _weight is reserved", MessageOptions{Format: "json", Fields: []vector.Field{{Name: "_weight", Type: text}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := NewMessages(tc.opt); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// A builder of messages allocates for chunks and their texts, not for messages.
func TestMessagesDoNotAllocate(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(string(bids(1000))), "\n")
	for _, tc := range []struct {
		opt  MessageOptions
		msgs []Message
	}{
		{MessageOptions{Format: "json", Fields: bidFields}, values(lines...)},
		{MessageOptions{Format: "avro", Fields: bidFields, AvroSchema: bidSchema}, avroBids(t, 100)},
		{MessageOptions{Format: "protobuf", Fields: bidFields, ProtobufSchema: bidProto}, protoBids(t, 100)},
	} {
		d, err := NewMessages(tc.opt)
		if err != nil {
			t.Fatal(err)
		}
		b := tc.opt.Builder()
		i := 0
		n := testing.AllocsPerRun(20_000, func() {
			if err := d.Add(&tc.msgs[i%len(tc.msgs)], b); err != nil {
				t.Fatal(err)
			}
			i++
		})
		if n != 0 || len(b.Bad) > 0 {
			t.Errorf("%s: %v allocations a message; bad rows %v", tc.opt.Format, n, b.Bad)
		}
	}
}

// Messages against the same lines in blocks.
func BenchmarkMessages(b *testing.B) {
	const rows = 20000
	data := bids(rows)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	msgs := values(lines...)
	b.Run("blocks", func(b *testing.B) {
		buf, d := padded(data), NewJSON(bidFields)
		b.ReportAllocs()
		for b.Loop() {
			bu := NewBuilder(bidFields)
			d.Decode(&Block{Buf: buf, N: len(data)}, bu)
			bu.Finish()
		}
		b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*rows), "ns/row")
	})
	b.Run("messages", func(b *testing.B) {
		benchMessages(b, MessageOptions{Format: "json", Fields: bidFields}, msgs)
	})
}

func benchMessages(b *testing.B, o MessageOptions, msgs []Message) {
	d, err := NewMessages(o)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		bu := o.Builder()
		for i := range msgs {
			if err := d.Add(&msgs[i], bu); err != nil {
				b.Fatal(err)
			}
		}
		if bu.Finish(); bu.Rows() != int64(len(msgs)) {
			b.Fatal(bu.Rows(), bu.Bad)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*len(msgs)), "ns/row")
}

// As many headers as a record can have are looked at once each.
func TestManyHeaders(t *testing.T) {
	text := vector.Of(vector.Varchar)
	o := MessageOptions{Format: "json", Metadata: []string{"", "headers"}, Fields: []vector.Field{{Name: "v", Type: text}, {Name: "h", Type: vector.Type{Kind: vector.Map,
		Elem: &vector.Type{Kind: vector.Struct, Fields: []vector.Field{{Name: "key", Type: text}, {Name: "value", Type: text}}}}}}}
	var headers []Header
	for i := range 300_000 {
		headers = append(headers, Header{fmt.Sprint(i % 100_000), []byte(fmt.Sprint(i))})
	}
	rows, bad := addAll(t, o, Message{Value: []byte("{}"), Headers: headers})
	if len(bad) > 0 || len(rows) != 1 || strings.Count(rows[0], ":") != 100_000 || !strings.Contains(rows[0], `"99999":"299999"`) {
		t.Errorf("%d rows, bad %q", len(rows), bad)
	}
}
