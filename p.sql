CREATE SOURCE o (id BIGINT, amt DECIMAL(10,2), "at" TIMESTAMP) WITH (connector='file', format='debezium', path='a.ndjson');
SELECT id, amt FROM o;
