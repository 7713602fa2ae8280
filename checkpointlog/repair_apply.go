package checkpointlog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sluice-sql/sluice/internal/failpoint"
)

var (
	fpRepairBeforeCut    = failpoint.New("log.repair.before_cut")
	fpRepairAfterCut     = failpoint.New("log.repair.after_cut")
	fpRepairBeforeRename = failpoint.New("log.repair.before_set_aside")
	fpRepairAfterRename  = failpoint.New("log.repair.after_set_aside")
)

// Apply carries a plan out, under the engine's lock. It returns where the bytes that were cut off are kept,
// empty if they were zeros only.
//
// The order is such that a crash anywhere leaves a log that every start refuses, or the repaired one, and that
// the same repair again gets to the end; and nothing is deleted:
//
//	copy the tail; cut it      a sealed segment is now shorter than the manifest says: refused
//	rename what is set aside   the manifest names files that are not there: refused
//	replace the manifest       done
func (p *RepairPlan) Apply() (kept string, err error) {
	lock, err := p.fs.Lock(filepath.Join(p.Dir, lockName))
	if errors.Is(err, ErrLocked) {
		return "", fmt.Errorf("checkpoint log %s is in use by an engine: %w\nHint: stop that engine first", p.Dir, err)
	}
	if err != nil {
		return "", fmt.Errorf("locking checkpoint log: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	now, err := PlanRepair(p.Dir, p.fs, p.From)
	if err != nil {
		return "", err
	}
	if now.Cut != p.Cut || now.CutAt != p.CutAt || now.CutBytes != p.CutBytes || !slices.Equal(now.SetAside, p.SetAside) {
		return "", errors.New("the log has changed since the repair was planned\nHint: look at it again and repeat the command")
	}
	kept, err = now.apply()
	if err != nil {
		return kept, fmt.Errorf("repairing checkpoint log: %w%s", err, ioHint(err))
	}
	return kept, nil
}

func (p *RepairPlan) apply() (kept string, err error) {
	if p.CutBytes > 0 {
		if kept, err = p.cut(); err != nil {
			return kept, err
		}
	}
	if err := fpRepairBeforeRename.Hit(); err != nil {
		return kept, err
	}
	for _, name := range p.SetAside {
		to, err := p.freeName(name)
		if err == nil {
			err = p.fs.Rename(filepath.Join(p.Dir, name), to)
		}
		if err != nil {
			return kept, fmt.Errorf("setting %s aside: %w", name, err)
		}
	}
	if len(p.SetAside) > 0 {
		if err := p.fs.SyncDir(p.Dir); err != nil {
			return kept, err
		}
	}
	if err := fpRepairAfterRename.Hit(); err != nil {
		return kept, err
	}
	if !p.rename {
		return kept, nil
	}
	return kept, writeManifest(p.fs, p.Dir, p.manifest)
}

// cut shortens the segment, and makes that durable: what follows relies on it.
func (p *RepairPlan) cut() (kept string, err error) {
	torn := TornTail{Path: filepath.Join(p.Dir, p.Cut), Offset: p.CutAt, Bytes: p.CutBytes}
	if err := fpRepairBeforeCut.Hit(); err != nil {
		return "", err
	}
	if err := cutTail(p.fs, p.Dir, p.seq, &torn); err != nil {
		return torn.Copy, err
	}
	f, err := p.fs.OpenAppend(torn.Path)
	if err != nil {
		return torn.Copy, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return torn.Copy, err
	}
	return torn.Copy, fpRepairAfterCut.Hit()
}

// freeName finds a name for a file that is set aside, and replaces none that is there.
func (p *RepairPlan) freeName(name string) (string, error) {
	names, err := p.fs.ReadDir(p.Dir)
	if err != nil {
		return "", err
	}
	to := name + badSuffix
	for n := 2; slices.Contains(names, to); n++ {
		to = fmt.Sprintf("%s.%d%s", name, n, badSuffix)
	}
	return filepath.Join(p.Dir, to), nil
}
