#include "bridge.h"
#include "_cgo_export.h"

typedef void (*callback_t)(void *);

extern void *duckdb_data_chunk_get_vector(void *chunk, uint64_t col);
extern uint64_t duckdb_data_chunk_get_size(void *chunk);
extern void duckdb_data_chunk_set_size(void *chunk, uint64_t size);
extern void *duckdb_vector_get_column_type(void *vec);
extern void *duckdb_vector_get_data(void *vec);
extern uint64_t *duckdb_vector_get_validity(void *vec);
extern void duckdb_vector_ensure_validity_writable(void *vec);
extern void *duckdb_create_vector(void *type, uint64_t capacity);
extern void duckdb_destroy_vector(void **vec);
extern void duckdb_destroy_logical_type(void **type);
extern void *duckdb_create_selection_vector(uint64_t size);
extern void duckdb_destroy_selection_vector(void *sel);
extern uint32_t *duckdb_selection_vector_get_data_ptr(void *sel);
extern void duckdb_vector_copy_sel(void *src, void *dst, void *sel, uint64_t n, uint64_t from, uint64_t to);
extern void *duckdb_list_vector_get_child(void *vec);
extern uint64_t duckdb_list_vector_get_size(void *vec);
extern int duckdb_list_vector_set_size(void *vec, uint64_t size);
extern int duckdb_list_vector_reserve(void *vec, uint64_t capacity);
extern void *duckdb_struct_vector_get_child(void *vec, uint64_t i);
extern void *duckdb_array_vector_get_child(void *vec);

extern void duckdb_table_function_set_extra_info(void *f, void *extra, callback_t destroy);
extern void duckdb_table_function_set_bind(void *f, callback_t bind);
extern void duckdb_table_function_set_init(void *f, callback_t init);
extern void duckdb_table_function_set_function(void *f, void (*scan)(void *, void *));
extern void *duckdb_bind_get_extra_info(void *info);
extern void duckdb_bind_set_error(void *info, const char *error);
extern void *duckdb_init_get_extra_info(void *info);
extern void duckdb_init_set_error(void *info, const char *error);
extern void duckdb_init_set_init_data(void *info, void *data, callback_t destroy);
extern uint64_t duckdb_init_get_column_count(void *info);
extern uint64_t duckdb_init_get_column_index(void *info, uint64_t i);
extern void duckdb_init_set_max_threads(void *info, uint64_t max);
extern void *duckdb_function_get_init_data(void *info);
extern void duckdb_function_set_error(void *info, const char *error);
extern void duckdb_scalar_function_set_extra_info(void *f, void *extra, callback_t destroy);
extern void duckdb_scalar_function_set_function(void *f, void (*call)(void *, void *, void *));
extern void *duckdb_scalar_function_get_extra_info(void *info);
extern void duckdb_scalar_function_set_error(void *info, const char *error);

// ---- chunks out of DuckDB ----

static sl_node *read_vector(void *vec, uint64_t rows, sl_node *n) {
	n->rows = rows;
	n->data = duckdb_vector_get_data(vec);
	n->valid = duckdb_vector_get_validity(vec);
	sl_node *next = n + 1;
	switch (n->op) {
	case SL_LIST:
		return read_vector(duckdb_list_vector_get_child(vec), duckdb_list_vector_get_size(vec), next);
	case SL_ARRAY:
		return read_vector(duckdb_array_vector_get_child(vec), rows * n->arg, next);
	case SL_STRUCT:
		for (uint64_t i = 0; i < n->arg; i++) {
			next = read_vector(duckdb_struct_vector_get_child(vec, i), rows, next);
		}
	}
	return next;
}

// Why: DuckDB hands out columns that are flat, but promises nothing for what is inside them: a flat
// STRUCT may hold constant or dictionary vectors, and the C API does not tell. A copy is flat at every
// level.
static void *flat_copy(void *vec, uint64_t rows) {
	void *type = duckdb_vector_get_column_type(vec);
	void *copy = duckdb_create_vector(type, rows ? rows : 1);
	duckdb_destroy_logical_type(&type);
	void *sel = duckdb_create_selection_vector(rows);
	uint32_t *index = duckdb_selection_vector_get_data_ptr(sel);
	for (uint64_t i = 0; i < rows; i++) {
		index[i] = (uint32_t)i;
	}
	duckdb_vector_copy_sel(vec, copy, sel, rows, 0, 0);
	duckdb_destroy_selection_vector(sel);
	return copy;
}

uint64_t sl_read_chunk(void *chunk, uint64_t cols, sl_node *nodes, void **tmp) {
	uint64_t rows = duckdb_data_chunk_get_size(chunk);
	for (uint64_t i = 0; i < cols; i++) {
		void *vec = duckdb_data_chunk_get_vector(chunk, i);
		if (nodes->op != SL_FLAT) {
			vec = tmp[i] = flat_copy(vec, rows);
		}
		nodes = read_vector(vec, rows, nodes);
	}
	return rows;
}

void sl_release(void **tmp, uint64_t cols) {
	for (uint64_t i = 0; i < cols; i++) {
		if (tmp[i]) {
			duckdb_destroy_vector(&tmp[i]);
			tmp[i] = NULL;
		}
	}
}

// ---- chunks into DuckDB ----

static sl_node *write_vector(void *vec, uint64_t rows, sl_node *n, bool *ok) {
	if (n->op == SL_LIST) {
		if (duckdb_list_vector_reserve(vec, n->arg) != 0 || duckdb_list_vector_set_size(vec, n->arg) != 0) {
			*ok = false;
			return n;
		}
	}
	n->rows = rows;
	n->data = duckdb_vector_get_data(vec);
	n->valid = NULL;
	if (n->nulls) {
		duckdb_vector_ensure_validity_writable(vec);
		n->valid = duckdb_vector_get_validity(vec);
	}
	sl_node *next = n + 1;
	switch (n->op) {
	case SL_LIST:
		return write_vector(duckdb_list_vector_get_child(vec), n->arg, next, ok);
	case SL_ARRAY:
		return write_vector(duckdb_array_vector_get_child(vec), rows * n->arg, next, ok);
	case SL_STRUCT:
		for (uint64_t i = 0; i < n->arg && *ok; i++) {
			next = write_vector(duckdb_struct_vector_get_child(vec, i), rows, next, ok);
		}
	}
	return next;
}

bool sl_write_vector(void *vec, uint64_t rows, sl_node *nodes) {
	bool ok = true;
	write_vector(vec, rows, nodes, &ok);
	return ok;
}

bool sl_write_chunk(void *chunk, uint64_t cols, const uint8_t *skip, uint64_t rows, sl_node *nodes) {
	bool ok = true;
	for (uint64_t i = 0; i < cols && ok; i++) {
		if (!skip[i]) {
			nodes = write_vector(duckdb_data_chunk_get_vector(chunk, i), rows, nodes, &ok);
		}
	}
	return ok;
}

uint64_t sl_chunk_rows(void *chunk) { return duckdb_data_chunk_get_size(chunk); }

// ---- functions that call back into Go ----
//
// The Go side answers with an error message to be freed here, or NULL.

static void release(void *handle) { sluiceDuckRelease((uintptr_t)handle); }

static void table_bind(void *info) {
	char *error = sluiceDuckBind((uintptr_t)duckdb_bind_get_extra_info(info), info);
	if (error) {
		duckdb_bind_set_error(info, error);
		free(error);
	}
}

static void table_init(void *info) {
	// One thread a scan: order is preserved, and a cursor needs no lock.
	duckdb_init_set_max_threads(info, 1);
	char *error = sluiceDuckInit((uintptr_t)duckdb_init_get_extra_info(info), info);
	if (error) {
		duckdb_init_set_error(info, error);
		free(error);
	}
}

static void table_scan(void *info, void *chunk) {
	uint64_t rows = 0;
	char *error = sluiceDuckScan((uintptr_t)duckdb_function_get_init_data(info), chunk, &rows);
	if (error) {
		rows = 0;
		duckdb_function_set_error(info, error);
		free(error);
	}
	duckdb_data_chunk_set_size(chunk, rows);
}

static void scalar_call(void *info, void *chunk, void *result) {
	char *error = sluiceDuckCall((uintptr_t)duckdb_scalar_function_get_extra_info(info), chunk, result);
	if (error) {
		duckdb_scalar_function_set_error(info, error);
		free(error);
	}
}

uint64_t sl_init_columns(void *info) { return duckdb_init_get_column_count(info); }
uint64_t sl_init_column(void *info, uint64_t i) { return duckdb_init_get_column_index(info, i); }
void sl_init_cursor(void *info, uintptr_t cursor) { duckdb_init_set_init_data(info, (void *)cursor, release); }

void sl_table_function(void *f, uintptr_t handle) {
	duckdb_table_function_set_extra_info(f, (void *)handle, release);
	duckdb_table_function_set_bind(f, table_bind);
	duckdb_table_function_set_init(f, table_init);
	duckdb_table_function_set_function(f, table_scan);
}

void sl_scalar_function(void *f, uintptr_t handle) {
	duckdb_scalar_function_set_extra_info(f, (void *)handle, release);
	duckdb_scalar_function_set_function(f, scalar_call);
}
