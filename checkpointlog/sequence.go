package checkpointlog

import "fmt"

// sequence is how far the protocol has come. The writer checks calls against it and the reader checks
// records against it, so what one accepts the other does too.
//
// Invariant: Committed is Prepared or Prepared-1, because a batch is prepared only after the one before
// it is committed.
type sequence struct {
	Prepared  int64 `json:"prepared"`
	Committed int64 `json:"committed"`
	Epoch     int64 `json:"epoch"` // of the last Prepared or Committed
}

// planned checks a Planned record. A batch may be planned again (the engine restarted before its
// Prepared, or cut it smaller), and the next one while this one is still being prepared.
func (s *sequence) planned(p *Planned) error {
	if p.Batch <= s.Prepared || p.Batch > s.Prepared+2 {
		return fmt.Errorf("planning batch %d while the last prepared is %d: %w", p.Batch, s.Prepared, ErrSequence)
	}
	return s.epoch("planning", p.Batch, p.Epoch)
}

func (s *sequence) prepared(p *Prepared) error {
	switch {
	case p.Batch != s.Prepared+1:
		return fmt.Errorf("preparing batch %d while the last prepared is %d: %w", p.Batch, s.Prepared, ErrSequence)
	case s.Committed != s.Prepared:
		return fmt.Errorf("preparing batch %d while batch %d is not recorded as committed: %w", p.Batch, s.Prepared, ErrSequence)
	}
	if err := s.epoch("preparing", p.Batch, p.Epoch); err != nil {
		return err
	}
	s.Prepared, s.Epoch = p.Batch, p.Epoch
	return nil
}

// committed checks a Committed record. It may be repeated: a restart that finds the batch in the ledger
// cannot know whether the record was durable.
func (s *sequence) committed(c *Committed) error {
	if c.Batch != s.Prepared || c.Batch == 0 {
		return fmt.Errorf("committing batch %d while the last prepared is %d: %w", c.Batch, s.Prepared, ErrSequence)
	}
	if err := s.epoch("committing", c.Batch, c.Epoch); err != nil {
		return err
	}
	s.Committed, s.Epoch = c.Batch, c.Epoch
	return nil
}

func (s *sequence) epoch(doing string, batch, epoch int64) error {
	if epoch < s.Epoch {
		return fmt.Errorf("%s batch %d in epoch %d after epoch %d: %w", doing, batch, epoch, s.Epoch, ErrSequence)
	}
	return nil
}
