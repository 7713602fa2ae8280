package duck

// Offset is where in the statement the error is, in bytes, -1 if unknown.
func (e *Error) Offset() int { return e.Position }

// Text is DuckDB's message alone.
func (e *Error) Text() string { return e.Message }
