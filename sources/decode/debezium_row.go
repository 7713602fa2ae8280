package decode

import "encoding/base64"

// unavailable is what Debezium writes for a value that it does not have: one that Postgres stores apart
// (TOAST) and that an update did not change.
const unavailable = "__debezium_unavailable_value"

// unavailableBytes is the same in a column of bytes that is read as text.
var unavailableBytes = base64.StdEncoding.EncodeToString([]byte(unavailable))

// keyed reports whether rows replace each other by a primary key.
func (d *Debezium) keyed() bool { return len(d.opt.Key) > 0 }

// before takes up the image at p. Without a key it is decoded at once, into the first row; with one,
// only the key is wanted, and only if the operation turns out to need it.
func (d *Debezium) before(p int) int {
	if !d.first(hasBefore, "before") {
		return -1
	}
	start, next := d.image(p, "before")
	if next != 0 {
		return next
	}
	d.ev.before = start
	if d.keyed() || d.ev.after > 0 {
		return d.skip(p, 0)
	}
	return d.beforeRow()
}

// image looks at the image at p: next is not 0 when there is nothing to decode.
func (d *Debezium) image(p int, name string) (start, next int) {
	switch {
	case d.buf[p] == '{':
		return p, 0
	case d.match("null", p):
		return 0, p + 4
	}
	end := d.skip(p, 0)
	if end < 0 {
		return 0, -1
	}
	return 0, d.fail("%s is %s, not an object with the row's columns", name, quoted(d.buf[p:end]))
}

// beforeRow decodes the whole image before the change into the first row.
func (d *Debezium) beforeRow() int {
	next := d.decode(d.b.row, d.ev.before)
	if next < 0 {
		return -1
	}
	for i, c := range d.cols {
		if d.seen[i] != d.gen {
			d.ev.incomplete = c.name
			break
		}
	}
	if c := d.missing(d.b.row); c != nil {
		d.ev.incomplete = c.name
	}
	return next
}

// after takes up the image at p: at once, unless it could stand before the other one, whose row is first.
func (d *Debezium) after(p int) int {
	if !d.first(hasAfter, "after") {
		return -1
	}
	start, next := d.image(p, "after")
	if next != 0 {
		return next
	}
	d.ev.after = start
	if !d.keyed() && d.ev.seen&hasBefore == 0 {
		return d.skip(p, 0)
	}
	return d.decodeAfter()
}

// decodeAfter decodes the row after the change, behind that before it.
func (d *Debezium) decodeAfter() int {
	d.ev.afterRow = d.b.row
	if !d.keyed() && d.ev.before > 0 {
		d.ev.afterRow++
	}
	return d.decode(d.ev.afterRow, d.ev.after)
}

// decode decodes an image into a row, as the event's schema says.
func (d *Debezium) decode(row, p int) int {
	if d.images != nil {
		return d.images(row, p)
	}
	if d.applied != d.ev.layout {
		d.applied = d.ev.layout
		for i, c := range d.cols {
			c.setCode(d.applied.codes[i])
		}
	}
	return d.object(row, p)
}

// change makes rows of what the event has.
func (d *Debezium) change() bool {
	if d.ev.before > 0 && !d.keyed() && d.ev.after > 0 && d.ev.afterRow < 0 && d.beforeRow() < 0 {
		return false
	}
	if d.ev.after > 0 && d.ev.afterRow < 0 && d.decodeAfter() < 0 {
		return false
	}
	if d.ev.after > 0 {
		if c := d.missing(d.ev.afterRow); c != nil {
			return d.refuse("column %s: the event does not have its value (%s): ALTER TABLE … REPLICA IDENTITY FULL makes Postgres send it", c.name, unavailable)
		}
	}
	switch d.ev.op {
	case 'c', 'r':
		return d.insert()
	case 'u':
		return d.update()
	case 'd':
		return d.remove()
	case 't':
		return d.refuse("a truncation (op t) cannot be applied: the event does not say which rows it deleted")
	case 'm':
		return true // a message that a program wrote to the log; it is about no row
	case 0:
		return d.refuse("the event has no op: rows without Debezium's envelope are read with format = 'json'")
	}
	return d.refuse("op is %s, not one of c, r, u, d, t and m", quoted([]byte{d.ev.op}))
}

func (d *Debezium) refuse(format string, args ...any) bool {
	d.fail(format, args...)
	return false
}

func (d *Debezium) insert() bool {
	if d.ev.before > 0 || d.ev.after == 0 {
		return d.refuse("op %c needs a row after and none before", d.ev.op)
	}
	return d.put(0, 1)
}

func (d *Debezium) update() bool {
	if d.ev.after == 0 {
		return d.refuse("op u needs a row after")
	}
	if d.keyed() {
		return d.put(0, 1) && (d.ev.before == 0 || d.oldKey())
	}
	return d.complete() && d.put(0, -1) && d.put(1, 1)
}

func (d *Debezium) remove() bool {
	switch {
	case d.ev.after > 0:
		return d.refuse("op d has a row after")
	case d.keyed() && d.ev.before == 0 && !d.messageKey():
		return false
	case d.keyed():
		if !d.keyRow(0) {
			return false
		}
		d.nullRest(d.b.row)
		return d.put(0, -1)
	}
	return d.complete() && d.put(0, -1)
}

// complete refuses an update or delete whose row before is not all there.
func (d *Debezium) complete() bool {
	const hint = ", so what it replaces is not known: declare PRIMARY KEY (…) NOT ENFORCED on the source, or have Postgres send whole rows with ALTER TABLE … REPLICA IDENTITY FULL"
	switch {
	case d.ev.before == 0:
		return d.refuse("op %c has no row before%s", d.ev.op, hint)
	case d.ev.incomplete != "":
		return d.refuse("op %c: the row before does not have column %s%s", d.ev.op, d.ev.incomplete, hint)
	}
	return true
}

// put gives the n-th row of the event its weight.
func (d *Debezium) put(n int, weight int64) bool {
	row := d.b.row + n
	if why := d.b.nullKey(row); why != "" {
		return d.refuse("%s", why)
	}
	d.b.weights.put64(row, uint64(weight))
	d.ev.rows = n + 1
	return true
}

// oldKey adds a row that deletes the key before an update, if it was another.
func (d *Debezium) oldKey() bool {
	if !d.keyRow(1) {
		return false
	}
	row, same := d.b.row, true
	for _, k := range d.opt.Key {
		same = same && d.cols[k].equalRows(row, row+1)
	}
	if !same {
		d.nullRest(row + 1)
		return d.put(1, -1)
	}
	for _, k := range d.opt.Key {
		d.cols[k].undoRange(row+1, row+2) // keys have no children that this could take from the other row
	}
	return true
}

// nullRest makes the columns outside the key NULL.
func (d *Debezium) nullRest(row int) {
	for i, c := range d.cols {
		if !d.isKey[i] {
			c.setNull(row)
		}
	}
}

// keyRow decodes the key, and nothing else, of the image before the change into the event's n-th row.
func (d *Debezium) keyRow(n int) bool {
	row := d.b.row + n
	d.only = d.isKey
	next := d.decode(row, d.ev.before)
	d.only = nil
	return next >= 0
}

// missing returns a column whose value in a row is Debezium's word for having none.
func (d *Debezium) missing(row int) *column {
	for _, c := range d.cols {
		if c.unavailable(row) {
			return c
		}
	}
	return nil
}
