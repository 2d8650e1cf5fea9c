-- What people ordered and was carried out: an order whose file outlives a crash is not carried out once more.
CREATE TABLE orders (
    name TEXT PRIMARY KEY,            -- of its file in state_dir/orders, without the ending
    done TEXT NOT NULL
) WITHOUT ROWID;
