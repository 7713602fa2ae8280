package file

// PartitionName implements microbatch.PartitionNamer: a partition is a file, named by its path as the
// offsets have it. It may be called beside Poll.
func (s *Source) PartitionName(ordinal int) string {
	names := s.names.Load()
	if names == nil || ordinal >= len(*names) {
		return ""
	}
	return (*names)[ordinal]
}

// remember keeps the names of the files known so far; a file never changes its place.
func (s *Source) remember(marks []mark) {
	if known := s.names.Load(); known != nil && len(*known) >= len(marks) {
		return
	}
	names := make([]string, len(marks))
	for i, m := range marks {
		names[i] = m.path
	}
	s.names.Store(&names)
}
