# shellcheck shell=bash
# What bin/dev and bin/test share: talking to the person, commands and processes, missing packages.
# Next, bin/services.sh: the private Redis and Postgres.
#
# Runs in bash 3.2 (the one of macOS) and later: no associative arrays, no `wait -n`, and no
# expansion of an array that may be empty.

program=bin/${0##*/}
: "${home:?the folder of this run, set by the script that sources this}"

bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' plain=$'\e[0m'
fi

# --- Talking ---------------------------------------------------------------------------------

# Says what begins now, and how many seconds in.
step() { printf '%s[%3d s] %s%s\n' "$bold" "$SECONDS" "$*" "$plain"; }

complain() { printf '%s: %s\n' "$program" "$*" >&2; }

die() {
    complain "$@"
    exit 1
}

# Prints the comment at the top of a script as its usage.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# --- Commands and processes ------------------------------------------------------------------

# Starts a command as a process group of its own, whose number is then in $group: `start_group LABEL
# COMMAND...`. A Ctrl-C in the terminal does not reach it: the script decides what ends when. Noted
# in $home/processes, for the run after one that was killed.
start_group() {
    local label=$1
    shift
    set -m
    "$@" </dev/null &
    group=$!
    set +m
    echo "$group $(birth "$group") $label" >>"$home/processes"
}

# Ends what is left of a run that was killed.
end_left_groups() {
    local group born label
    [[ -f $home/processes ]] || return 0
    while read -r group born label; do
        is_same_process "$group" "$born" || continue
        kill -TERM -- "-$group" || true # all at the same time: some have much to finish
    done <"$home/processes"
    while read -r group born label; do
        is_same_process "$group" "$born" || continue
        step "Ending $label, left over from a run that was killed"
        end_group "$group" 15
    done <"$home/processes"
    rm "$home/processes"
}

# Runs a long command and obeys SIGINT and SIGTERM meanwhile: bash holds a trap back until a
# foreground command has ended, but not during `wait`. `finish` of the script ends it then.
attended=
attend() {
    local status=0
    start_group "$*" "$@"
    attended=$group
    wait "$attended" || status=$?
    attended=
    return "$status"
}

end_attended() {
    [[ -n $attended ]] || return 0
    end_group "$attended" 10
    attended=
}

# When a process was started, without spaces; nothing if it has ended. A process number may come
# again after a reboot, but never together with the same time.
birth() {
    local stat
    if [[ -d /proc/self ]]; then
        { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
        # The program's name, in parentheses, may hold anything; what follows it is in fixed order.
        read -r -a stat <<<"${stat##*) }"
        # A zombie has ended, though in a container without an init nobody buries it.
        [[ ${stat[0]} == Z ]] || echo "${stat[19]}"
    else
        ps -o lstart= -p "$1" | tr -s ' ' _
    fi
}

# Whether the process $1 is still the one that was born at $2.
is_same_process() { [[ -n $2 && $(birth "$1") == "$2" ]]; }

# The command line of a process, as its owner or the process itself has set it.
title() {
    if [[ -d /proc/self ]]; then
        { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true
    else
        ps -o command= -p "$1" || true
    fi
}

# Waits until a command succeeds, at most $1 seconds.
await() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

has_ended() { [[ -z $(birth "$1") ]]; }
group_has_ended() { ! kill -0 -- "-$1" 2>/dev/null; }

# Ends a process group: politely, and after $2 seconds without.
end_group() {
    kill -TERM -- "-$1" 2>/dev/null || return 0
    await "$2" group_has_ended "$1" || kill -KILL -- "-$1" 2>/dev/null || true
}

# --- Ports -----------------------------------------------------------------------------------

# Whether nobody listens on a port of 127.0.0.1.
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints a free port: the one that file $1 remembers from the last run, if it is still free, so that
# what somebody has set up for it goes on to work. Below the ports that systems hand out to clients.
choose_port() {
    local port=
    [[ ! -f $1 ]] || port=$(<"$1")
    until [[ -n $port ]] && port_is_free "$port"; do
        port=$((20000 + RANDOM % 10000))
    done
    echo "$port" | tee "$1"
}

# --- What must be installed ------------------------------------------------------------------

need_cargo() {
    local wanted have
    command -v cargo >/dev/null || PATH=$PATH:${HOME:-}/.cargo/bin
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    have=$(cargo --version 2>/dev/null | awk '{ print $2 }') || true
    [[ -n $have ]] ||
        die "cargo is missing. Install Rust $wanted or later, for example with https://rustup.rs, and start again."
    [[ $(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1) == "$wanted" ]] ||
        die "cargo is $have, but Rust $wanted or later is needed: \`rustup update\`, for example."
}

# Sets `as_root`, what makes a command run as root, for the functions below. Fails where packages
# cannot be installed.
as_root=''
can_install() {
    command -v apt-get >/dev/null || return
    ((EUID == 0)) || { as_root='sudo -n' && $as_root true; } 2>/dev/null
}

# Whether there is the library that shows a process a wrong time.
find_clock_library() { compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; }

# Installs Debian packages, or says how to get what they hold.
install_packages() {
    can_install || explain_install "There is no apt-get, or no right to use it" "$@"
    step "Installing $* with apt-get; services that belong to them stay off"
    # Not by `attend`: to end it half way is up to the person only.
    (install_quietly "$@") >.rhubarb/install.log 2>&1 || {
        tail -n 20 .rhubarb/install.log >&2
        explain_install "apt-get failed (its output is in .rhubarb/install.log)" "$@"
    }
}

install_quietly() {
    local apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120"
    trap release_services EXIT
    hold_services &&
        $apt update &&
        $apt install -y --no-install-recommends "$@" &&
        disable_services "$@"
}

# Debian starts a service as soon as its package is installed, unless this file, which is left to
# the administrator, denies that. One that exists is the administrator's word and stays as it is,
# unless it is of an earlier run that was killed.
policy=/usr/sbin/policy-rc.d
hold_services() {
    local installer=$BASHPID # not in the text below, which a process of its own writes
    [[ ! -e $policy ]] || grep -q 'From Rhubarb' "$policy" || return 0
    $as_root tee "$policy" >/dev/null <<END
#!/bin/sh
# From Rhubarb's $program, which takes it away again: packages that it installs start no services.
# Should that be killed first, this file means nothing any more.
kill -0 $installer 2>/dev/null || exit 0
exit 101
END
    $as_root chmod 755 "$policy"
}

release_services() { ! grep -qs 'From Rhubarb' "$policy" || $as_root rm "$policy"; }

# Not at the next boot either: we start our own.
disable_services() {
    local package
    for package; do
        case $package in redis-server | postgresql) $as_root update-rc.d "$package" disable ;; esac
    done
}

# Says what to do where we cannot: $1 tells why, the rest are names of Debian's packages.
explain_install() {
    local why=$1 package fedora='' macos=''
    shift
    for package; do
        case $package in
            gcc | make) fedora+=" $package" ;; # macOS asks for its compiler and what belongs to it by itself
            redis-server) fedora+=' redis' macos+=' redis' ;;
            postgresql) fedora+=' postgresql-server' macos+=' postgresql@17' ;;
            chromium) fedora+=' chromium' macos+=' chromium' ;;
            chromium-driver) fedora+=' chromedriver' macos+=' chromedriver' ;;
        esac
    done
    complain "$why, and something is missing. Install it and start again:"
    cat >&2 <<END
    Debian    sudo apt-get install $*
    Fedora    sudo dnf install$fedora
    macOS     brew install$macos
No Redis or Postgres is started where REDIS_URL or DATABASE_URL names one that runs.
END
    exit 1
}
