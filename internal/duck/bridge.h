// The C side of internal/duck. DuckDB's own functions are declared here rather than included, because a
// package cannot name the directory of another module's headers; the library itself is linked by
// duckdb-go-bindings. Every handle of the C API is a pointer to an opaque struct, written void * here.
#ifndef SLUICE_DUCK_BRIDGE_H
#define SLUICE_DUCK_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

// How a vector stores its rows; see package vector.
enum { SL_FLAT = 0, SL_LIST = 1, SL_ARRAY = 2, SL_STRUCT = 3 };

// One vector in the preorder walk of a column: a parent, then its children.
//
//   op     SL_*
//   arg    SL_ARRAY: its size; SL_STRUCT: how many children; SL_LIST, when writing: rows of the child
//   nulls  writing only: the validity mask is wanted
//   rows, data, valid   filled in by the walk; valid is NULL when no row is NULL
typedef struct {
	void *data;
	uint64_t *valid;
	uint64_t rows;
	uint64_t arg;
	uint32_t op;
	uint32_t nulls;
} sl_node;

// Finds the vectors of a chunk for reading. Nested columns are first copied into flat vectors of our
// own, kept in tmp[column] until sl_release.
uint64_t sl_read_chunk(void *chunk, uint64_t cols, sl_node *nodes, void **tmp);
void sl_release(void **tmp, uint64_t cols);

// Prepares the vectors of a chunk (or one vector) for rows rows: lists reserved, masks writable.
// skip[i] != 0 leaves column i alone. False: DuckDB could not reserve the memory.
bool sl_write_chunk(void *chunk, uint64_t cols, const uint8_t *skip, uint64_t rows, sl_node *nodes);
bool sl_write_vector(void *vec, uint64_t rows, sl_node *nodes);

uint64_t sl_chunk_rows(void *chunk);
uint64_t sl_init_column(void *info, uint64_t i);
uint64_t sl_init_columns(void *info);
void sl_init_cursor(void *info, uintptr_t cursor);

// Ties a table or scalar function to the Go value behind handle, which DuckDB releases when it drops
// the function.
void sl_table_function(void *function, uintptr_t handle);
void sl_scalar_function(void *function, uintptr_t handle);

#endif
