package kafka

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/sluice-sql/sluice/microbatch"
)

// maxOffset is what a _seq has room for; change events with a key take two each.
const (
	maxOffset     = 1 << 43
	maxPartitions = 1 << 19
)

// A topicID tells topics of one name apart; all zeros from brokers older than 2.8, which have none.
type topicID [16]byte

func (id topicID) String() string { return hex.EncodeToString(id[:]) }

// A mark says how far a partition has been read.
type mark struct {
	partition   int32
	start, next int64 // where reading began, and goes on
	records     int64 // in [start, next)
	epoch       int32 // leader epoch of the last batch before next; -1 if there is none
}

// A position is a decoded offsets document. The index of a mark is its partition's ordinal.
type position struct {
	topic   string
	id      topicID
	marks   []mark
	unknown unknowns
}

func (p *position) encode() json.RawMessage {
	out := append(make([]byte, 0, 96+32*len(p.marks)), `{"v":1,"topic":`...)
	out = strconv.AppendQuote(out, p.topic) // topics' names are plain
	out = append(append(append(out, `,"id":"`...), p.id.String()...), `","partitions":[`...)
	for i, m := range p.marks {
		if i > 0 {
			out = append(out, ',')
		}
		for j, n := range [...]int64{int64(m.partition), m.start, m.next, m.records, int64(m.epoch)} {
			out = append(out, "[,,,,"[j])
			out = strconv.AppendInt(out, n, 10)
		}
		out = append(out, ']')
	}
	if len(p.unknown) > 0 {
		out = p.unknown.encode(append(out, `],"unknown_schemas":[`...))
	}
	return append(out, `]}`...)
}

// decodePosition reads an offsets document; nil for the beginning.
func decodePosition(doc json.RawMessage) (*position, error) {
	if len(doc) == 0 || string(doc) == "null" {
		return nil, nil
	}
	var d struct {
		V          int       `json:"v"`
		Topic      string    `json:"topic"`
		ID         string    `json:"id"`
		Partitions [][]int64 `json:"partitions"`
		Unknown    [][]int64 `json:"unknown_schemas"`
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("read offsets: %w", err)
	}
	if d.V != 1 {
		return nil, fmt.Errorf("read offsets: version %d is not known to this release\nHint: use the release that wrote it, or a newer one", d.V)
	}
	p := &position{topic: d.Topic}
	id, err := hex.DecodeString(d.ID)
	if err != nil || copy(p.id[:], id) != len(p.id) || len(id) != len(p.id) {
		return nil, fmt.Errorf("read offsets: the topic's id %q is malformed", d.ID)
	}
	if len(d.Partitions) > maxPartitions {
		return nil, fmt.Errorf("read offsets: %d partitions are too many", len(d.Partitions))
	}
	seen := map[int64]bool{}
	for i, e := range d.Partitions {
		if len(e) != 5 || seen[e[0]] || e[0] < 0 || e[0] > 1<<31-1 || e[1] < 0 || e[2] < e[1] || e[2] > maxOffset || e[3] < 0 || e[3] > e[2]-e[1] || e[4] < -1 || e[4] > 1<<31-1 {
			return nil, fmt.Errorf("read offsets: entry %d of partitions is malformed: %v", i+1, e)
		}
		seen[e[0]] = true
		p.marks = append(p.marks, mark{int32(e[0]), e[1], e[2], e[3], int32(e[4])})
	}
	p.unknown, err = decodeUnknowns(d.Unknown)
	return p, err
}

// find returns the ordinal of a partition, -1 if it has none yet.
func (p *position) find(partition int32) int {
	return slices.IndexFunc(p.marks, func(m mark) bool { return m.partition == partition })
}

// clone returns a copy that may be changed.
func (p *position) clone() *position {
	q := *p
	q.marks, q.unknown = slices.Clone(p.marks), slices.Clone(p.unknown)
	return &q
}

// check refuses offsets of another topic.
func (s *Source) check(p *position, t *topic) error {
	switch {
	case p.topic != s.opt.Topic:
		return fmt.Errorf("source %s: the offsets are of topic %s, and the source reads %s\nHint: put the topic back, or drop the pipeline and run it again from the beginning", s.opt.Name, p.topic, s.opt.Topic)
	case t != nil && p.id != t.id && p.id != topicID{} && t.id != topicID{}:
		return s.recreated()
	}
	return nil
}

func (s *Source) recreated() error {
	return fmt.Errorf("source %s: topic %s was deleted and made again (its id is another), so that its offsets mean other records: %w\n"+
		"Hint: `sluice drop` the pipeline and run it again to read the new topic from its beginning", s.opt.Name, s.opt.Topic, microbatch.ErrRangeChanged)
}
