"""What PostgreSQL is told."""

ORDER_COLUMNS = """tenant text not null, id text not null, version bigint not null, status text not null, day date not null,
    at_ms bigint not null, store text not null, customer text not null, amount bigint not null"""
BID_COLUMNS = """day date not null, at_ms bigint not null, auction bigint not null, bidder bigint not null,
    channel text not null, price bigint not null"""

# What a transaction brings, on each connection.
BATCH = {
    "orders.csv": f"create temporary table if not exists batch ({ORDER_COLUMNS})",
    "bids.csv": f"create temporary table if not exists batch ({BID_COLUMNS})",
}
INSERT_ONE = "insert into batch values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"

ORDERS = f"create table orders ({ORDER_COLUMNS}, primary key (tenant, id))"
# The newest version of each order wins.
UPSERT = """
insert into orders select distinct on (tenant, id) * from batch order by tenant, id, version desc
on conflict (tenant, id) do update set version = excluded.version, status = excluded.status, day = excluded.day,
    at_ms = excluded.at_ms, store = excluded.store, customer = excluded.customer, amount = excluded.amount
where orders.version < excluded.version
"""

CHEAP = """
select tenant, day, store, count(*) as orders, sum(amount)::bigint as amount, min(amount) as least, max(amount) as most
from orders where status = 'final' group by tenant, day, store
"""
FULL = """
select tenant, day, store, count(*) as orders, sum(amount)::bigint as amount, min(amount) as least, max(amount) as most,
    count(distinct customer) as customers, percentile_disc(0.95) within group (order by amount) as p95
from orders where status = 'final' group by tenant, day, store
"""
TOTALS = """
select count(*) as groups, sum(orders) as orders, sum(amount) as amount, sum(least) as least, sum(most) as most,
    sum(customers) as customers, sum(p95) as p95
from stores where orders > 0
"""
SHORT_TOTALS = "select count(*) as groups, sum(orders) as orders, sum(amount) as amount from stores where orders > 0"

DAY = "select store, orders, amount from stores where tenant = %s and day = %s"
TOP_TEN = DAY + " order by amount desc limit 10"
DAY_AMOUNT = "select sum(amount) from stores where tenant = %s and day = %s"

STORES = """
create table stores (tenant text, day date, store text, orders bigint not null, amount bigint not null,
    customers bigint not null default 0, least bigint, most bigint, p95 bigint, primary key (tenant, day, store))
    with (fillfactor = 70)
"""
# All parts of a statement see the orders as they were before it.
CHANGES = """
with newest as materialized (select distinct on (tenant, id) * from batch order by tenant, id, version desc),
old as materialized (
    select orders.* from orders join newest using (tenant, id) where orders.version < newest.version
),
"""
DIFFERENCES = (
    CHANGES
    + """
accepted as (
    insert into orders select * from newest
    on conflict (tenant, id) do update set version = excluded.version, status = excluded.status, day = excluded.day,
        at_ms = excluded.at_ms, store = excluded.store, customer = excluded.customer, amount = excluded.amount
    where orders.version < excluded.version
    returning tenant, status, day, store, amount
),
difference as (
    select tenant, day, store, sum(n) as orders, sum(amount) as amount from (
        select tenant, day, store, 1 as n, amount from accepted where status = 'final'
        union all select tenant, day, store, -1, -amount from old where status = 'final'
    ) as each group by tenant, day, store
)
insert into stores (tenant, day, store, orders, amount) select * from difference
on conflict (tenant, day, store) do update
    set orders = stores.orders + excluded.orders, amount = stores.amount + excluded.amount
"""
)

CUSTOMERS = """
create table customers (tenant text, day date, store text, customer text, n bigint not null,
    primary key (tenant, day, store, customer)) with (fillfactor = 70)
"""
BY_STORE = "create index by_store on orders (tenant, day, store, amount) where status = 'final'"
# Before the orders are changed, as the touched groups below.
CUSTOMERS_DIFFERENCES = (
    CHANGES
    + """
difference as (
    select tenant, day, store, customer, sum(n) as n from (
        select tenant, day, store, customer, 1 as n from newest where status = 'final'
            and not exists (select from orders where (orders.tenant, orders.id) = (newest.tenant, newest.id)
                and orders.version >= newest.version)
        union all select tenant, day, store, customer, -1 from old where status = 'final'
    ) as each group by tenant, day, store, customer
)
insert into customers select * from difference
on conflict (tenant, day, store, customer) do update set n = customers.n + excluded.n
"""
)
# The groups that orders of the batch are in, or were in; before the orders are changed.
TOUCHED_TABLE = "create temporary table touched (tenant text, day date, store text) on commit drop"
TOUCHED = """
insert into touched select tenant, day, store from batch
union select orders.tenant, orders.day, orders.store from orders join batch using (tenant, id)
"""
RECOMPUTED = """
with counted as (
    select tenant, day, store, count(*) filter (where n > 0) as customers
    from touched join customers using (tenant, day, store) group by tenant, day, store
),
ordered as (
    select tenant, day, store, min(amount) as least, max(amount) as most,
        percentile_disc(0.95) within group (order by amount) as p95
    from touched join orders using (tenant, day, store) where status = 'final' group by tenant, day, store
)
update stores set customers = counted.customers, least = ordered.least, most = ordered.most, p95 = ordered.p95
from counted join ordered using (tenant, day, store)
where (stores.tenant, stores.day, stores.store) = (counted.tenant, counted.day, counted.store)
"""

COUNT_ONE = """
insert into counters values (:row, 1, 7) on conflict (id) do update
set n = counters.n + 1, amount = counters.amount + excluded.amount;
"""

RANK = "case when price < 10000 then 1 when price < 1000000 then 2 else 3 end"
BIDS = [
    """
    create table q17 (day date, auction bigint, total_bids bigint not null, rank1_bids bigint not null,
        rank2_bids bigint not null, rank3_bids bigint not null, min_price bigint not null, max_price bigint not null,
        sum_price bigint not null, primary key (day, auction)) with (fillfactor = 70)
    """,
    # Distinct values of a day, once for all prices (rank 0) and once for each range of them.
    "create table bidders (day date, rank integer, value bigint, primary key (day, rank, value))",
    "create table auctions (day date, rank integer, value bigint, primary key (day, rank, value))",
    "create table q15 (day date, what text, rank integer, n bigint not null, primary key (day, what, rank))",
]
Q17 = f"""
insert into q17 select day, auction, count(*), count(*) filter (where {RANK} = 1), count(*) filter (where {RANK} = 2),
    count(*) filter (where {RANK} = 3), min(price), max(price), sum(price) from batch group by day, auction
on conflict (day, auction) do update set total_bids = q17.total_bids + excluded.total_bids,
    rank1_bids = q17.rank1_bids + excluded.rank1_bids, rank2_bids = q17.rank2_bids + excluded.rank2_bids,
    rank3_bids = q17.rank3_bids + excluded.rank3_bids, min_price = least(q17.min_price, excluded.min_price),
    max_price = greatest(q17.max_price, excluded.max_price), sum_price = q17.sum_price + excluded.sum_price
"""
Q17_TOTALS = """
select count(*) as groups, sum(total_bids) as total_bids, sum(rank1_bids) as rank1_bids, sum(rank2_bids) as rank2_bids,
    sum(rank3_bids) as rank3_bids, sum(min_price) as min_price, sum(max_price) as max_price, sum(sum_price) as sum_price
from q17
"""
# Of the batch the values that are not there yet, and how many that is.
Q15_DISTINCT = """
with ranked as (
    select distinct day, {rank} as rank, {column} as value from batch
),
of_batch as (select day, rank, value from ranked union select day, 0, value from ranked),
added as (
    insert into {table} select * from of_batch
    where not exists (select from {table} as known where (known.day, known.rank, known.value) =
        (of_batch.day, of_batch.rank, of_batch.value))
    returning day, rank
)
insert into q15 select day, '{table}', rank, count(*) from added group by day, rank
on conflict (day, what, rank) do update set n = q15.n + excluded.n
"""
Q15 = [
    Q15_DISTINCT.format(rank=RANK, column="bidder", table="bidders"),
    Q15_DISTINCT.format(rank=RANK, column="auction", table="auctions"),
    f"""
    with counted as (select day, {RANK} as rank, count(*) as n from batch group by 1, 2)
    insert into q15 select day, 'bids', rank, n from counted
    union all select day, 'bids', 0, sum(n) from counted group by day
    on conflict (day, what, rank) do update set n = q15.n + excluded.n
    """,
]
Q15_FOUND = "select day::text, what, rank, n from q15"
