-- Nexmark 18, last bid: the newest bid of each user on each auction.
-- Class: incremental.
-- Differs: QUALIFY instead of a subquery; bids at one time are told apart by price and extra, so that the answer
-- does not depend on the order of arrival.
CREATE SOURCE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel VARCHAR, url VARCHAR, date_time TIMESTAMP, extra VARCHAR,
  WATERMARK FOR date_time AS date_time - INTERVAL '4 seconds'
) WITH (connector = 'nexmark', type = 'bid', events = 5000, event_rate = 100);

CREATE MATERIALIZED VIEW q18 AS
SELECT auction, bidder, price, channel, url, date_time, extra
FROM bid
QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, price DESC, extra) <= 1;
