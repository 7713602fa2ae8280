package postgrescdc

import (
	"encoding/json"
	"fmt"
)

// LSN is a place in the server's write-ahead log.
type LSN uint64

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// ParseLSN reads the form in which Postgres writes one.
func ParseLSN(s string) (LSN, error) {
	var hi, lo uint32
	var rest string
	if n, _ := fmt.Sscanf(s, "%X/%X%s", &hi, &lo, &rest); n != 2 {
		return 0, fmt.Errorf("%q is no LSN", s)
	}
	return LSN(hi)<<32 | LSN(lo), nil
}

// MarshalText and UnmarshalText make an LSN readable in offsets and in the log.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *LSN) UnmarshalText(b []byte) (err error) {
	*l, err = ParseLSN(string(b))
	return err
}

// offsets is the document that says how far a source was read: to a position of the log, at which the tables
// are as of an LSN.
type offsets struct {
	V   int   `json:"v"`
	At  int64 `json:"at"`
	LSN LSN   `json:"lsn"`
	// Snapshot says that a part of the initial snapshot is not read yet.
	Snapshot bool `json:"snapshot,omitempty"`
}

func decodeOffsets(doc json.RawMessage) (o offsets, err error) {
	if len(doc) == 0 || string(doc) == "null" {
		return offsets{V: 1, Snapshot: true}, nil
	}
	if err := json.Unmarshal(doc, &o); err != nil || o.V != 1 || o.At < 0 {
		return o, fmt.Errorf("read offsets %s: they are not those of a captured table", doc)
	}
	return o, nil
}

func (o offsets) encode() json.RawMessage {
	doc, err := json.Marshal(o)
	if err != nil {
		panic("postgrescdc: offsets cannot be encoded: " + err.Error())
	}
	return doc
}
