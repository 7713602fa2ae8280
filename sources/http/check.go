package http

import (
	"net/http"

	"github.com/sluice-sql/sluice/sources/decode"
)

// maxShown is how many rows that cannot be read an answer lists.
const maxShown = 10

// checkedRows is how many decoded rows are in memory at once.
const checkedRows = 2048

// check refuses rows that are too long, and those that cannot be read if that is asked for.
func (h *Handler) check(r rows) error {
	for i, text := range r.text {
		if int64(len(text)) > h.opt.MaxRowBytes {
			return problem(http.StatusRequestEntityTooLarge, "too_large", "raise the source's option max_row_bytes", "row %d is longer than %d bytes", i+1, h.opt.MaxRowBytes)
		}
	}
	if h.opt.Validate == Accept {
		return nil
	}
	d, _ := h.decoders.Get().(decode.MessageDecoder)
	if d == nil {
		var err error
		if d, err = decode.NewMessages(h.opt.Rows.Messages); err != nil {
			return err
		}
	}
	var shown []decode.Bad
	rejected := 0
	b := h.opt.Rows.Messages.Builder()
	for i, text := range r.text {
		m := decode.Message{Value: text, Offset: int64(i)}
		if err := d.Add(&m, b); err != nil {
			return Unavailable("send it again when it does", "the rows cannot be decoded now: %v", err)
		}
		if rejected += len(b.Bad); len(shown) < maxShown {
			shown = append(shown, b.Bad...)
		}
		// Why: what was decoded is of no use here, and must not be held for all of a body.
		if b.Bad = nil; b.Rows() >= checkedRows {
			b = h.opt.Rows.Messages.Builder()
		}
	}
	h.decoders.Put(d)
	if rejected == 0 {
		return nil
	}
	p := problem(http.StatusUnprocessableEntity, "rows_rejected", "nothing of the body was kept: send it again without them, or have the source say validate = 'accept'",
		"%d of %d rows cannot be read", rejected, len(r.text))
	p.Rejected = rejected
	for _, bad := range shown {
		line := BadLine{Row: int(bad.Offset) + 1, Reason: bad.Reason}
		if r.line != nil {
			line.Line = r.line[bad.Offset]
		}
		p.Rows = append(p.Rows, line)
	}
	return p
}
