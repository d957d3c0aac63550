# shellcheck shell=bash
# Redis and Postgres of our own: every file under $home, a free port of 127.0.0.1 each.
#
# Both run as daemons outside the terminal's reach, so that a Ctrl-C ends them last. They are found
# again by what they write themselves, so that a run that was killed leaves nothing nameless behind.

: "${home:?the folder of this run, set by the script that sources this}"

# Starts what no variable names, and sets REDIS_URL and DATABASE_URL. $1 is `kept` or `thrown-away`:
# whether the data must outlive a power cut.
start_services() {
    local durability=$1
    if [[ -z ${REDIS_URL:-} ]]; then
        step "Starting a private Redis"
        start_redis
        export REDIS_URL=redis://127.0.0.1:$redis_port
    fi
    if [[ -z ${DATABASE_URL:-} ]]; then
        step "Starting a private Postgres"
        start_postgres
        export DATABASE_URL=postgres://rhubarb:$postgres_password@127.0.0.1:$postgres_port/rhubarb
    fi
}

# Postgres first: it ends in a moment, while Redis may have a log to write.
stop_services() {
    stop_postgres
    stop_redis
}

# --- Redis -----------------------------------------------------------------------------------

start_redis() {
    local folder=$home/redis fsync=everysec
    [[ $durability == kept ]] || fsync=no
    [[ -d $folder ]] || mkdir -m 700 "$folder"

    # Somebody may take the port between our look and Redis's: then another one.
    for _ in 1 2 3; do
        redis_port=$(choose_port "$folder/port")
        cat >"$folder/redis.conf" <<END
bind 127.0.0.1
port $redis_port
daemonize yes
dir "$folder"
pidfile "$folder/pid"
logfile "$folder/log"
appendonly yes
appendfsync $fsync
save ""
maxmemory-policy noeviction
END
        : >"$folder/log"
        redis-server "$folder/redis.conf" >/dev/null
        await 60 redis_is_decided || true
        ! redis_answers || return 0
        grep -qi 'address already in use' "$folder/log" || break
        rm "$folder/port"
    done
    tail -n 5 "$folder/log" >&2
    die "Redis did not start: see $folder/log"
}

# It answers (reading a long log back comes first) or has given up.
redis_is_decided() { redis_answers || grep -qE 'Failed listening|FATAL|exiting' "$home/redis/log"; }

redis_answers() {
    [[ -n $(redis_pid) && $(redis-cli -h 127.0.0.1 -p "$redis_port" ping 2>/dev/null) == PONG ]]
}

# The number of our Redis, if it runs. The file alone proves nothing: after a crash of the machine
# the number may be another program's. Redis calls itself `redis-server 127.0.0.1:<port>`.
redis_pid() {
    local pid port
    { read -r pid <"$home/redis/pid" && read -r port <"$home/redis/port"; } 2>/dev/null || return 0
    [[ $(title "$pid") != *"-server 127.0.0.1:$port"* ]] || echo "$pid"
}

stop_redis() {
    local pid
    pid=$(redis_pid)
    [[ -n $pid ]] || return 0
    kill -TERM "$pid" 2>/dev/null || return 0
    await 30 has_ended "$pid" || {
        complain "Redis (process $pid) did not end within 30 s and is killed"
        kill -KILL "$pid"
        await 5 has_ended "$pid" || true
    }
}

# --- Postgres --------------------------------------------------------------------------------

start_postgres() {
    local options
    place_postgres
    find_postgres "$postgres_folder/data" || die "$postgres_folder/data was made by Postgres" \
        "$(as_postgres cat "$postgres_folder/data/PG_VERSION"), which is not here. Install that version, or remove the folder and what is in it."
    init_postgres

    forget_dead_postgres

    # 300 connections: the tests run in parallel, each with pools of its own. No Unix socket: its
    # usual folder is closed to ordinary users.
    options='-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300'
    [[ $durability == kept ]] ||
        options+=' -c fsync=off -c synchronous_commit=off -c full_page_writes=off'
    for _ in 1 2 3; do
        postgres_port=$(choose_port "$home/postgres.port")
        ! as_postgres "$postgres_bin/pg_ctl" start -s -w -t 60 -D "$postgres_folder/data" \
            -l "$postgres_folder/log" -o "-p $postgres_port $options" 2>/dev/null || break
        postgres_port=
        as_postgres tail -n 3 "$postgres_folder/log" | grep -q 'could not create any TCP/IP' || break
        rm "$home/postgres.port"
    done
    [[ -n $postgres_port ]] || {
        as_postgres tail -n 5 "$postgres_folder/log" >&2
        die "Postgres did not start: see $postgres_folder/log"
    }
    create_database
}

# Sets postgres_user and postgres_folder: who owns Postgres's files, and where they are.
#
# Postgres refuses to run as root, so root hands it to another user. That user may be unable to
# reach a checkout below /root: then $home/postgres is a link to a folder that it can reach.
place_postgres() {
    local elsewhere
    if [[ ! -d $home/postgres ]]; then
        rm -f "$home/postgres" # a link to a folder that is gone
        mkdir -m 700 "$home/postgres"
        if ((EUID == 0)); then
            postgres_user=postgres
            id -u "$postgres_user" >/dev/null 2>&1 || postgres_user=nobody
            chown "$postgres_user" "$home/postgres"
            if ! as_postgres test -w "$home/postgres"; then
                mkdir -p /var/lib/rhubarb
                elsewhere=$(mktemp -d /var/lib/rhubarb/postgres-XXXXXX)
                chown "$postgres_user" "$elsewhere"
                rmdir "$home/postgres"
                ln -s "$elsewhere" "$home/postgres"
            fi
        fi
    fi
    open_postgres
    ((EUID == 0)) || [[ -O $postgres_folder ]] ||
        die "$postgres_folder belongs to $postgres_user, not to you. Start as that user or as root, or remove the folder as root."
}

open_postgres() {
    postgres_folder=$(cd -P "$home/postgres" && pwd)
    # shellcheck disable=SC2012 # `stat` has other options on macOS, and our name holds nothing odd
    postgres_user=$(ls -ld "$postgres_folder" | awk '{ print $3 }')
}

# Runs a command as the user that Postgres runs as, from a folder which that user may enter.
as_postgres() {
    if ((EUID != 0)); then
        "$@"
    elif command -v runuser >/dev/null; then
        (cd / && runuser -u "$postgres_user" -- "$@")
    else
        die "root cannot run Postgres, and there is no runuser to run it as $postgres_user: start as an ordinary user"
    fi
}

# Sets postgres_bin, the folder of Postgres's programs: of the version that made the data in $1, if
# there is any, else what is on PATH, else the newest. Debian keeps them all off PATH.
find_postgres() {
    local version='' folder
    [[ ! -d ${1:-} ]] || version=$(as_postgres cat "$1/PG_VERSION")
    while IFS= read -r folder; do
        [[ -x $folder/initdb && -x $folder/pg_ctl && -x $folder/postgres && -x $folder/psql ]] ||
            continue
        [[ -z $version || $("$folder/postgres" --version) =~ \ $version([.\ a-z]|$) ]] || continue
        postgres_bin=$folder
        return 0
    done < <(
        dirname "$(command -v pg_ctl)"
        printf '%s\n' /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin \
            /usr/local/opt/postgresql*/bin | sort -rV
    )
    return 1
}

init_postgres() {
    if [[ ! -f $postgres_folder/password ]]; then
        # Not the empty lock of `trust`: a superuser of Postgres runs commands as its user, and every
        # user of the machine reaches 127.0.0.1.
        # shellcheck disable=SC2016 # the inner shell's $1
        od -An -N8 -tx1 /dev/urandom | tr -d ' \n' |
            as_postgres sh -c 'umask 077 && cat >"$1.new" && mv "$1.new" "$1"' sh \
                "$postgres_folder/password"
    fi
    postgres_password=$(as_postgres cat "$postgres_folder/password")

    ! as_postgres test -d "$postgres_folder/data" || return 0
    # Under another name until it is whole: a run that is killed here leaves no half of it. The
    # password goes over in clear, which 127.0.0.1 can bear: the other ways make a client hash for
    # long, and tests are debug builds that connect often.
    as_postgres rm -rf "$postgres_folder/data.new"
    as_postgres "$postgres_bin/initdb" -D "$postgres_folder/data.new" --username=rhubarb \
        --auth=password --pwfile="$postgres_folder/password" --encoding=UTF8 --locale=C \
        >/dev/null
    as_postgres mv "$postgres_folder/data.new" "$postgres_folder/data"
}

create_database() {
    local sql=("$postgres_bin/psql" -XqtA
        "postgres://rhubarb:$postgres_password@127.0.0.1:$postgres_port/postgres" -c)
    [[ $("${sql[@]}" "SELECT 1 FROM pg_database WHERE datname = 'rhubarb'") == 1 ]] ||
        "${sql[@]}" 'CREATE DATABASE rhubarb'
}

# The number of our Postgres, if it runs.
postgres_pid() {
    local pid
    read -r pid < <(as_postgres cat "$postgres_folder/data/postmaster.pid" 2>/dev/null) || return 0
    [[ $(title "$pid") != *"-D $postgres_folder/data "* ]] || echo "$pid"
}

# Postgres does not start while its pid file names a living process. After a crash of the machine
# that may be any program.
forget_dead_postgres() {
    local file=$postgres_folder/data/postmaster.pid pid
    read -r pid < <(as_postgres cat "$file" 2>/dev/null) || return 0
    [[ $(title "$pid") == *postgres* ]] || as_postgres rm -f "$file"
}

stop_postgres() {
    [[ -d $home/postgres ]] || return 0
    open_postgres
    [[ -n $(postgres_pid) ]] || return 0
    find_postgres "$postgres_folder/data" || return 0
    as_postgres "$postgres_bin/pg_ctl" stop -s -m fast -w -t 60 -D "$postgres_folder/data" ||
        complain "Postgres did not end: see $postgres_folder/log"
}

# Takes all of $home away, with the folder elsewhere that belongs to it.
remove_home() {
    [[ ! -L $home/postgres ]] || rm -rf "$(readlink "$home/postgres")"
    rm -rf "$home"
}
