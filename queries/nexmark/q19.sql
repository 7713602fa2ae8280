-- Nexmark 19, ten highest bids of each auction, numbered.
-- Class: incremental.
-- Differs: QUALIFY instead of a subquery; equal prices are told apart by time, bidder and extra, so that the
-- answer does not depend on the order of arrival.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 100);

CREATE MATERIALIZED VIEW q19 AS
SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, bidder, extra) AS rank_number
FROM bid
QUALIFY rank_number <= 10;
