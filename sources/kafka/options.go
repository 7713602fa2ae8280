package kafka

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-sql/sluice/internal/kafkaclient"
	"github.com/sluice-sql/sluice/sources/decode"
)

// Options configure a source. The zero value of each field means its default.
type Options struct {
	// Name is the source's name, for messages. Defaults to "kafka".
	Name string
	// Client says how to reach the cluster. Required.
	Client kafkaclient.Options
	// Topic is the topic's name. Required.
	Topic string
	// Messages say what records mean: the format, the columns, the key. Required.
	Messages decode.MessageOptions
	// Startup is where reading begins when there are no offsets yet: "earliest", "latest", a time in UTC
	// ("2026-01-31 12:00:00", or RFC 3339), or offsets ("0:1200,1:950"; partitions not named begin at their
	// earliest record). Defaults to "earliest".
	Startup string
	// Mode is "tail", which waits for more, or "bounded", which ends where the topic ended when reading began.
	// Defaults to "tail".
	Mode string
	// OnError is what to do with a record that cannot be decoded: "dead_letter" or "stop". Defaults to
	// "dead_letter".
	OnError string
	// GroupID is the consumer group whose offsets are set after each batch, for lag tools. Defaults to none.
	GroupID string
	// BufferBytes bounds the records read ahead of the batches, over all partitions; each may always have
	// 256 KiB and one response. Defaults to 64 MiB.
	BufferBytes int64
	// DiscoverEvery is how often new partitions are looked for. Defaults to 10 s.
	DiscoverEvery time.Duration
	// Patience is how long a topic that is gone, and a schema registry that fails, are asked again before the source
	// gives up. Brokers that cannot be reached are tried for ever, once one has been. Defaults to 30 s.
	Patience time.Duration
}

func (o Options) withDefaults() Options {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&o.Name, "kafka")
	set(&o.Startup, "earliest")
	set(&o.Mode, "tail")
	set(&o.OnError, "dead_letter")
	if o.BufferBytes == 0 {
		o.BufferBytes = 64 << 20
	}
	if o.DiscoverEvery == 0 {
		o.DiscoverEvery = 10 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	return o
}

// Validate returns all that is wrong with the options, joined. It does not connect.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(option, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		bad("%s = '%s' is not known\nHint: use '%s'", option, value, strings.Join(allowed, "' or '"))
	}
	oneOf("mode", o.Mode, "tail", "bounded")
	oneOf("on_error", o.OnError, "dead_letter", "stop")
	if o.Topic == "" || len(o.Topic) > 249 || strings.Trim(o.Topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
		bad("topic = '%s' is not a topic's name\nHint: names are up to 249 letters, digits, dots, dashes and underscores; a source reads one topic, and UNION ALL joins several", o.Topic)
	}
	if _, err := parseStartup(o.Startup); err != nil {
		errs = append(errs, err)
	}
	if o.BufferBytes < 1<<20 {
		bad("max_buffer_bytes = %d is less than 1 MiB", o.BufferBytes)
	}
	return errors.Join(append(errs, o.Client.Validate(), o.Messages.Validate())...)
}

// A startup is the parsed option: one of its fields is set, or none for the earliest records.
type startup struct {
	latest  bool
	at      time.Time
	offsets map[int32]int64
}

var timeLayouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04", time.DateOnly}

func parseStartup(text string) (s startup, err error) {
	switch text {
	case "", "earliest":
		return s, nil
	case "latest":
		return startup{latest: true}, nil
	}
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, text); err == nil {
			return startup{at: at.UTC()}, nil
		}
	}
	s.offsets = map[int32]int64{}
	for part := range strings.SplitSeq(text, ",") {
		number, offset, ok := strings.Cut(part, ":")
		p, err1 := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
		o, err2 := strconv.ParseInt(strings.TrimSpace(offset), 10, 64)
		if !ok || err1 != nil || err2 != nil || p < 0 || o < 0 || o >= maxOffset {
			return s, fmt.Errorf("startup = '%s' is not known\nHint: use 'earliest', 'latest', a time such as '2026-01-31 12:00:00' (UTC), or offsets by partition such as '0:1200,1:950'", text)
		}
		if _, twice := s.offsets[int32(p)]; twice {
			return s, fmt.Errorf("startup = '%s' names partition %d twice", text, p)
		}
		s.offsets[int32(p)] = o
	}
	return s, nil
}
