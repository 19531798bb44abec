# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_cls_global_optspecs
    string join \n json q/quiet timeout= config= resource= h/help V/version
end

function __fish_cls_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_cls_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_cls_using_subcommand
    set -l cmd (__fish_cls_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c cls -n "__fish_cls_needs_command" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_needs_command" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_needs_command" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_needs_command" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_needs_command" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_needs_command" -s V -l version -d 'Print version'
complete -c cls -n "__fish_cls_needs_command" -f -a "status" -d 'Show the cluster\'s state, a verdict on its health, and what to type next'
complete -c cls -n "__fish_cls_needs_command" -f -a "master" -d 'Print the name of the primary\'s node'
complete -c cls -n "__fish_cls_needs_command" -f -a "start" -d 'Start the database and its addresses on every node'
complete -c cls -n "__fish_cls_needs_command" -f -a "stop" -d 'Stop the database and its addresses on every node'
complete -c cls -n "__fish_cls_needs_command" -f -a "online_switch" -d 'Make another node the primary, while everything is well'
complete -c cls -n "__fish_cls_needs_command" -f -a "cleanup" -d 'Make Pacemaker forget failures, so that it tries again'
complete -c cls -n "__fish_cls_needs_command" -f -a "repair_slave" -d 'Repair a standby with pg_rewind: mostly an old primary that has WAL of its own'
complete -c cls -n "__fish_cls_needs_command" -f -a "rebuild_slave" -d 'Rebuild a standby from a base backup of the primary'
complete -c cls -n "__fish_cls_needs_command" -f -a "recovery_master" -d 'Emergency: decide which node\'s data to go on with'
complete -c cls -n "__fish_cls_needs_command" -f -a "standby_node" -d 'Take all resources off a node, for work on it'
complete -c cls -n "__fish_cls_needs_command" -f -a "unstandby_node" -d 'Let a node be used again after cls_standby_node'
complete -c cls -n "__fish_cls_needs_command" -f -a "unmanage" -d 'Take the resources out of Pacemaker\'s control; PostgreSQL goes on'
complete -c cls -n "__fish_cls_needs_command" -f -a "manage" -d 'Give the resources back into Pacemaker\'s control after cls_unmanage'
complete -c cls -n "__fish_cls_needs_command" -f -a "restart" -d 'Restart PostgreSQL on one node after the other'
complete -c cls -n "__fish_cls_needs_command" -f -a "init" -d 'Prepare the nodes of a new cluster: databases, roles, settings, the lock service'
complete -c cls -n "__fish_cls_needs_command" -f -a "setup" -d 'Make the cluster\'s configuration from config.ini'
complete -c cls -n "__fish_cls_needs_command" -f -a "config" -d 'Show the configuration that is in force, and what differs from config.ini'
complete -c cls -n "__fish_cls_needs_command" -f -a "doctor" -d 'Look on every node for what could go wrong, with what to do about it'
complete -c cls -n "__fish_cls_needs_command" -f -a "history" -d 'Show takeovers, switches, restarts and lost standbys: when, why, for how long, and what was lost'
complete -c cls -n "__fish_cls_needs_command" -f -a "internal" -d 'For install.sh and for commands that look at other nodes'
complete -c cls -n "__fish_cls_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cls -n "__fish_cls_using_subcommand status" -l watch -d 'Show it again and again, every so many seconds (2 unless given), until Ctrl-C' -r
complete -c cls -n "__fish_cls_using_subcommand status" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand status" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand status" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand status" -l check -d 'One line and the exit code of a monitoring plugin: 0 ok, 1 warning, 2 critical, 3 unknown'
complete -c cls -n "__fish_cls_using_subcommand status" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand status" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand master" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand master" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand master" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand master" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand master" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand master" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand start" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand start" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand start" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand start" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand start" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand start" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand stop" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand stop" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand stop" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand stop" -l force -d 'Also if the primary\'s stop has to wait for its archive'
complete -c cls -n "__fish_cls_using_subcommand stop" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand stop" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand online_switch" -l to -d 'The successor [default: the synchronous standby, or the one that is closest]; with the built-in lock service also a standby that commits do not wait for' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand online_switch" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand online_switch" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand online_switch" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand online_switch" -l dry-run -d 'Only say what would be done, after looking whether it could be'
complete -c cls -n "__fish_cls_using_subcommand online_switch" -l force -d 'Also while a backup runs or a transaction has been open for a minute'
complete -c cls -n "__fish_cls_using_subcommand online_switch" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand online_switch" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand online_switch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand cleanup" -l node -d 'On this node only' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand cleanup" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand cleanup" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand cleanup" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand cleanup" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand cleanup" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand cleanup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -l node -d 'The node to repair [default: this one]' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -l or-rebuild -d 'Where pg_rewind cannot do it, rebuild (the old data are moved aside)'
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -l dry-run -d 'Only say what would be done, after looking whether it could be'
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand repair_slave" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l node -d 'The node to rebuild [default: this one]' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l max-rate -d 'Copy at most so much per second: kB, or with k or M' -r
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l waldir -d 'A directory for the WAL outside of the data directory' -r -F
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l tablespace-mapping -d 'Put a tablespace elsewhere than the primary has it' -r
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l accept-mark -d 'Go on from the mark that an earlier version has left beside the data directory; the command shows what it says, and the word to give here, when it finds one' -r
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l keep-old -d 'Move a data directory that is there aside, and put it back if the copy fails'
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l ignore-space -d 'Go on where the database seems to be larger than what is free, for a file system that compresses'
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l dry-run -d 'Only say what would be done, after looking whether it could be'
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand rebuild_slave" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -l node -d 'The node [default: the one with the newest data that can be reached]' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -l confirm -d 'Confirm without being asked, by the name of the node that is chosen' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -l off -d 'This node is switched off: confirms it for a node that cannot be seen and may be serving' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand recovery_master" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand standby_node" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand standby_node" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand standby_node" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand standby_node" -l force -d 'Also if no other node can take the database over, or if writes would stand still for another reason'
complete -c cls -n "__fish_cls_using_subcommand standby_node" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand standby_node" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand standby_node" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand unstandby_node" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand unstandby_node" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand unstandby_node" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand unstandby_node" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand unstandby_node" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand unstandby_node" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand unmanage" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand unmanage" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand unmanage" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand unmanage" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand unmanage" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand unmanage" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand manage" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand manage" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand manage" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand manage" -l force -d 'Also if Pacemaker then stops PostgreSQL, since cls_stop was given'
complete -c cls -n "__fish_cls_using_subcommand manage" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand manage" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand manage" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand restart" -l node -d 'Only this node; the primary gives its place to a standby before' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand restart" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand restart" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand restart" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand restart" -l pending -d 'Only where settings of PostgreSQL wait for a restart'
complete -c cls -n "__fish_cls_using_subcommand restart" -l dry-run -d 'Only say what would be done, after looking whether it could be'
complete -c cls -n "__fish_cls_using_subcommand restart" -l together -d 'Also where PostgreSQL has to be stopped on every node at the same time: a limit is lowered, or no standby runs'
complete -c cls -n "__fish_cls_using_subcommand restart" -l force -d 'Also while a backup runs or a transaction has been open for a minute'
complete -c cls -n "__fish_cls_using_subcommand restart" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand restart" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand restart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand init" -l locale -d 'The locale of a new database (its encoding is UTF8)' -r
complete -c cls -n "__fish_cls_using_subcommand init" -l lock-admin -d 'Connection string of a superuser of the lock service (the same host, port and dbname), who makes the cluster\'s role, the tables and the rights there; its password belongs into root\'s passfile' -r
complete -c cls -n "__fish_cls_using_subcommand init" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand init" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand init" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand init" -l yes -d 'Do what was shown'
complete -c cls -n "__fish_cls_using_subcommand init" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand init" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand init" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand setup" -l off -d 'Where the lock service moves: this node is switched off, so that it does not go on with the old one' -r -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand setup" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand setup" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand setup" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand setup" -l dry-run -d 'Show what would be changed, and change nothing'
complete -c cls -n "__fish_cls_using_subcommand setup" -l restart -d 'Also make changes that restart a PostgreSQL that runs: on one node after the other, with a planned switch before the primary, where all nodes need not change at the same moment'
complete -c cls -n "__fish_cls_using_subcommand setup" -l together -d 'With --restart: also where PostgreSQL has to be stopped on every node at the same time'
complete -c cls -n "__fish_cls_using_subcommand setup" -l force -d 'With --restart: also while a backup runs or a transaction has been open for a minute'
complete -c cls -n "__fish_cls_using_subcommand setup" -l remove -d 'Take the database and its addresses out of Pacemaker\'s configuration; needs cls_stop first'
complete -c cls -n "__fish_cls_using_subcommand setup" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand setup" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand setup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand config" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand config" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand config" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand config" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand config" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand doctor" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand doctor" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand doctor" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand doctor" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand doctor" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand history" -l days -d 'Only what happened in the last so many days' -r
complete -c cls -n "__fish_cls_using_subcommand history" -l limit -d 'Only the latest so many events [default: 50 as text, all otherwise]' -r
complete -c cls -n "__fish_cls_using_subcommand history" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand history" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand history" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand history" -l html -d 'Print a page of HTML with a picture, which needs no other file: cls_history --html >report.html'
complete -c cls -n "__fish_cls_using_subcommand history" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand history" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "config" -d 'Print a value of config.ini: nodes (one a line), ocf_root, directory; or which file it is'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "commands" -d 'Print the names of the commands, one a line'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "pages" -d 'Write manual pages and completions below a directory, as below /usr/share'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "passfile" -d 'Merge the lines given as JSON into the passfiles of this node'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "copy" -d 'Print which config.ini the commands of this node read, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "facts" -d 'Print what cls_doctor asks of a node, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "site" -d 'Print what this node has of what is asked for as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "init-look" -d 'Print what cls_init asks of a node, as JSON; the agent\'s parameters are given as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "init-do" -d 'Do the step of cls_init that is given as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "running" -d 'Print whether PostgreSQL runs on this node: yes or no'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "clock" -d 'Print the time in seconds'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "wal-end" -d 'Print where this node\'s WAL ends, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "rows" -d 'Ask this node\'s PostgreSQL what is given as JSON, and print the rows as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "settings" -d 'Print what the settings of this node\'s PostgreSQL are and will be after its next start, as JSON; the agent\'s parameters are given as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "seen" -d 'Print what this node has seen of the register, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "hand-over" -d 'Hand the register over to the successor of a planned switch, where this node\'s PostgreSQL was the primary and is stopped, and print the register\'s epoch as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "give-way" -d 'Use and give no promises beside an operator\'s decision, and print what was promised here, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and not __fish_seen_subcommand_from config commands pages passfile copy facts site init-look init-do running clock wal-end rows settings seen hand-over give-way help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from config" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from config" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from config" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from config" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from config" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from config" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from commands" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from commands" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from commands" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from commands" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from commands" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from commands" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from pages" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from pages" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from pages" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from pages" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from pages" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from pages" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from passfile" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from passfile" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from passfile" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from passfile" -l check -d 'Only say which would be changed'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from passfile" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from passfile" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from passfile" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from copy" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from copy" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from copy" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from copy" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from copy" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from copy" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from facts" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from facts" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from facts" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from facts" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from facts" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from facts" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from site" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from site" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from site" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from site" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from site" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from site" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-look" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-look" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-look" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-look" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-look" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-look" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-do" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-do" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-do" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-do" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-do" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from init-do" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from running" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from running" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from running" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from running" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from running" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from running" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from clock" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from clock" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from clock" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from clock" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from clock" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from clock" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from wal-end" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from wal-end" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from wal-end" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from wal-end" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from wal-end" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from wal-end" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from rows" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from rows" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from rows" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from rows" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from rows" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from rows" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from settings" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from settings" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from settings" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from settings" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from settings" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from settings" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from seen" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from seen" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from seen" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from seen" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from seen" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from hand-over" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from hand-over" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from hand-over" -l resource -d 'The database resource, where the cluster has several' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from hand-over" -l check -d 'Only say whether there is anything against it, while the primary still serves'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from hand-over" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from hand-over" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from hand-over" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from give-way" -l timeout -d 'How long to wait for the end state (each command has a default of its own)' -r
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from give-way" -l config -d 'config.ini to use [default: $pha4pgsql_dir/config.ini, ../config.ini beside the program, or that of the package in /etc/pha4pgsql]' -r -F
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from give-way" -l json -d 'Print one JSON document instead of text'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from give-way" -s q -l quiet -d 'Print nothing but errors and what was asked for'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from give-way" -s h -l help -d 'Print help'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "config" -d 'Print a value of config.ini: nodes (one a line), ocf_root, directory; or which file it is'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "commands" -d 'Print the names of the commands, one a line'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "pages" -d 'Write manual pages and completions below a directory, as below /usr/share'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "passfile" -d 'Merge the lines given as JSON into the passfiles of this node'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "copy" -d 'Print which config.ini the commands of this node read, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "facts" -d 'Print what cls_doctor asks of a node, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "site" -d 'Print what this node has of what is asked for as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "init-look" -d 'Print what cls_init asks of a node, as JSON; the agent\'s parameters are given as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "init-do" -d 'Do the step of cls_init that is given as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "running" -d 'Print whether PostgreSQL runs on this node: yes or no'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "clock" -d 'Print the time in seconds'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "wal-end" -d 'Print where this node\'s WAL ends, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "rows" -d 'Ask this node\'s PostgreSQL what is given as JSON, and print the rows as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "settings" -d 'Print what the settings of this node\'s PostgreSQL are and will be after its next start, as JSON; the agent\'s parameters are given as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "seen" -d 'Print what this node has seen of the register, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "hand-over" -d 'Hand the register over to the successor of a planned switch, where this node\'s PostgreSQL was the primary and is stopped, and print the register\'s epoch as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "give-way" -d 'Use and give no promises beside an operator\'s decision, and print what was promised here, as JSON'
complete -c cls -n "__fish_cls_using_subcommand internal; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "status" -d 'Show the cluster\'s state, a verdict on its health, and what to type next'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "master" -d 'Print the name of the primary\'s node'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "start" -d 'Start the database and its addresses on every node'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "stop" -d 'Stop the database and its addresses on every node'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "online_switch" -d 'Make another node the primary, while everything is well'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "cleanup" -d 'Make Pacemaker forget failures, so that it tries again'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "repair_slave" -d 'Repair a standby with pg_rewind: mostly an old primary that has WAL of its own'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "rebuild_slave" -d 'Rebuild a standby from a base backup of the primary'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "recovery_master" -d 'Emergency: decide which node\'s data to go on with'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "standby_node" -d 'Take all resources off a node, for work on it'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "unstandby_node" -d 'Let a node be used again after cls_standby_node'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "unmanage" -d 'Take the resources out of Pacemaker\'s control; PostgreSQL goes on'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "manage" -d 'Give the resources back into Pacemaker\'s control after cls_unmanage'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "restart" -d 'Restart PostgreSQL on one node after the other'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "init" -d 'Prepare the nodes of a new cluster: databases, roles, settings, the lock service'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "setup" -d 'Make the cluster\'s configuration from config.ini'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "config" -d 'Show the configuration that is in force, and what differs from config.ini'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "doctor" -d 'Look on every node for what could go wrong, with what to do about it'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "history" -d 'Show takeovers, switches, restarts and lost standbys: when, why, for how long, and what was lost'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "internal" -d 'For install.sh and for commands that look at other nodes'
complete -c cls -n "__fish_cls_using_subcommand help; and not __fish_seen_subcommand_from status master start stop online_switch cleanup repair_slave rebuild_slave recovery_master standby_node unstandby_node unmanage manage restart init setup config doctor history internal help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "config" -d 'Print a value of config.ini: nodes (one a line), ocf_root, directory; or which file it is'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "commands" -d 'Print the names of the commands, one a line'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "pages" -d 'Write manual pages and completions below a directory, as below /usr/share'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "passfile" -d 'Merge the lines given as JSON into the passfiles of this node'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "copy" -d 'Print which config.ini the commands of this node read, as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "facts" -d 'Print what cls_doctor asks of a node, as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "site" -d 'Print what this node has of what is asked for as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "init-look" -d 'Print what cls_init asks of a node, as JSON; the agent\'s parameters are given as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "init-do" -d 'Do the step of cls_init that is given as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "running" -d 'Print whether PostgreSQL runs on this node: yes or no'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "clock" -d 'Print the time in seconds'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "wal-end" -d 'Print where this node\'s WAL ends, as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "rows" -d 'Ask this node\'s PostgreSQL what is given as JSON, and print the rows as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "settings" -d 'Print what the settings of this node\'s PostgreSQL are and will be after its next start, as JSON; the agent\'s parameters are given as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "seen" -d 'Print what this node has seen of the register, as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "hand-over" -d 'Hand the register over to the successor of a planned switch, where this node\'s PostgreSQL was the primary and is stopped, and print the register\'s epoch as JSON'
complete -c cls -n "__fish_cls_using_subcommand help; and __fish_seen_subcommand_from internal" -f -a "give-way" -d 'Use and give no promises beside an operator\'s decision, and print what was promised here, as JSON'
complete -c cls -n "__fish_cls_using_subcommand standby_node" -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls -n "__fish_cls_using_subcommand unstandby_node" -f -a "(cls internal config nodes 2>/dev/null)"
complete -c cls_status -w 'cls status'
complete -c cls_master -w 'cls master'
complete -c cls_start -w 'cls start'
complete -c cls_stop -w 'cls stop'
complete -c cls_online_switch -w 'cls online_switch'
complete -c cls_cleanup -w 'cls cleanup'
complete -c cls_repair_slave -w 'cls repair_slave'
complete -c cls_rebuild_slave -w 'cls rebuild_slave'
complete -c cls_recovery_master -w 'cls recovery_master'
complete -c cls_standby_node -w 'cls standby_node'
complete -c cls_unstandby_node -w 'cls unstandby_node'
complete -c cls_unmanage -w 'cls unmanage'
complete -c cls_manage -w 'cls manage'
complete -c cls_restart -w 'cls restart'
complete -c cls_init -w 'cls init'
complete -c cls_setup -w 'cls setup'
complete -c cls_config -w 'cls config'
complete -c cls_doctor -w 'cls doctor'
complete -c cls_history -w 'cls history'
