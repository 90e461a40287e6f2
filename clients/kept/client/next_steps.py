"""What to do next, by reason: a sentence or two for the person who is told. {keys} are the reason's metadata; a sentence whose key
is missing is left out (sentences end with ". ")."""

from collections.abc import Mapping
from typing import Final

_RETRY: Final = "Nothing has to be changed: try again in a moment."

NEXT_STEPS: Final[Mapping[str, str]] = {
    # of this client
    "NOT_REACHABLE": "Look with `kept doctor` which service answers, and whether the profile's addresses are right.",
    "NOT_SERVED": "Check the profile's addresses, and bring the command and the services to the same version.",
    "NOT_SIGNED_IN": "Sign in with `kept login`.",
    "SIGN_IN_REFUSED": "Check name and password, then `kept login` again.",
    "PROFILE": "Name a profile with --profile or $KEPT_PROFILE; `kept doctor --help` tells what belongs into it.",
    "UNREADABLE": "Check the file's name and content.",
    "NO_KEYS": "Pin the keys with `kept trust`, or name a file of keys with --keys FILE.",
    "CONTRADICTORY": "Get it anew from where it was made; whoever passed it on may have changed it.",
    "KEYS_CHANGED": "Ask the operator out of band whether the keys were changed, then pin them with `kept trust --replace`.",
    # callers
    "UNAUTHENTICATED": "What is wrong with the token: {problem}. Sign in again with `kept login`; if that does not help, `kept doctor` "
    "shows clock and certificate faults.",
    "CALLER_NOT_ALLOWED": "Use another identity (--as NAME); `kept status` shows who you are.",
    "NOT_AUTHORIZED": "What is missing: {missing}. {advice}. The policy that asks for it: {policy}. `kept status` shows your roles and "
    "agreement; an operator changes them with `kept people`.",
    "POWER_REQUIRED": "Request the power with `kept access request --power {power} --reason …` and have a colleague approve it.",
    "WRONG_ORGANIZATION": "Name your own organization, or use another identity (--as NAME).",
    "ADMIN_REQUIRED": "Ask one of your admins: {admins}. There is no admin to ask; write to {support}.",
    # requests
    "INVALID_ARGUMENT": "Correct the fields named above; nothing was changed.",
    "MALFORMED_MESSAGE": "Do not retry: client and service disagree on the contract; bring both to the same version.",
    "NOT_FOUND": "Check the id, and with `kept status` that you are who you mean to be: what you may not see does not exist for you.",
    "REQUEST_ID_REUSED": "Leave --request-id away, or give a new one.",
    "CONFLICT": "Somebody else was faster: look at it again, then repeat your change.",
    "WRONG_STATE": "It is in state {state}, which does not allow this. Look at it again with the `show` or `list` command.",
    "SECOND_PERSON_REQUIRED": "Ask a colleague: nobody does both halves of an act that takes two.",
    "ALREADY_EXISTS": "Look with the `list` command at the one that is there, or choose another name.",
    "CONFUSABLE": "Add what tells the two apart, such as a middle name; look with `kept people list` for who it looks like.",
    "DECEPTIVE_ADDRESS": "Ask the person how their provider writes the address, and type it; do not paste it.",
    # grants
    "PROVIDER_NOT_LISTED": "Compare `kept trust-center subprocessors` with `kept people provider list`: compliance puts your provider "
    "on the list, by the same name; it counts from the list's day on.",
    "GRANT_REQUIRED": "Request access with `kept access request --organization … --purpose … --reason …`, then pass --grant.",
    "GRANT_NOT_ACTIVE": "The grant's state is {state}. See what it waits for with `kept access show GRANT`.",
    "GRANT_EXPIRED": "Request a new grant with `kept access request`.",
    "GRANT_REVOKED": "Ask whoever revoked it; if the need stands, request a new grant with `kept access request`.",
    "BREAK_GLASS_UNREVIEWED": "Have a colleague look at {grant_id} with `kept access review`; then ask again.",
    "OUTSIDE_SCOPE": "Leave out what the grant does not cover (`kept access show GRANT`), or request one that does.",
    "BUDGET_EXHAUSTED": "Request a new grant with the number of records that you need (--budget).",
    "DETAIL_NOT_GRANTED": "The grant gives {detail}. Ask for less with --detail, or request a grant with more.",
    "CASE_NOT_OPEN": "See with `kept cases show CASE` where the case is and which records are its.",
    "CUSTOMER_DECIDES": "Leave it to the organization: another of its admins approves with `kept access approve GRANT`.",
    "CUSTOMER_APPROVAL_REQUIRED": "Wait for an admin of the organization to approve: `kept access show GRANT` tells.",
    # the moment
    "LEASE_LAPSED": _RETRY,
    "PEER_UNAVAILABLE": "It waits for the {service} service. " + _RETRY,
    "DATABASE_UNAVAILABLE": _RETRY,
    "KEY_STORE_UNAVAILABLE": _RETRY + " If it stays so, an operator looks after access control's key store.",
    "OVERLOADED": _RETRY,
    "TOO_LARGE": "Send less at once; retrying the same does not help.",
    "SHUTTING_DOWN": _RETRY,
    "DEADLINE_EXCEEDED": "It may have happened or not: repeat the command with the same --request-id where it has one, or look with "
    "the `list` command.",
    "INTERNAL": "Report the correlation id to the operator: the service's log names the cause under it.",
    # recording
    "DEPLOYMENT_SENDS_NO_CONTENT": "Send nothing: this organization's deployment keeps its data on its own side.",
    "UNKNOWN_ORGANIZATION": "Check the id. A new organization is known everywhere only from the instant its creation names.",
    "GATEWAY_NOT_REGISTERED": "Have an operator register the gateway with `kept settings gateways register`.",
    "RECORD_TOO_LATE": "It is older than {window_hours} hours and is not taken any more.",
    "RECORD_FROM_FUTURE": "Set the clock of the machine that made the record id right.",
    "CLOSED": "Nothing more is taken for this organization or day.",
    "INVALID_RECORD_ID": "Give a UUID of version 7, as recorded.",
    "USAGE_NOT_AGREED": "Send no counts. Where the agreement does allow them, an operator enters that with `kept settings organizations "
    "update ORG --usage on`.",
    "USAGE_COUNTED_FROM_RECORDS": "Send no counts: they are taken from what is recorded.",
    # keys, holds, evidence
    "KEY_DESTROYED": "Nothing brings it back: the key was destroyed on schedule.",
    "HOLD_TOO_LATE": "Place the hold on records that are still there.",
    "NOT_YET_INTEGRATED": _RETRY,
    "CATCHING_UP": _RETRY,
    "NOT_DUE": "Wait until it is due by its rule: `kept retention plan` shows what is.",
    # settings
    "CONFIRMATION_MISMATCH": "Type the sentence exactly as shown; `kept settings account status` shows it again.",
    "NOT_ELIGIBLE": "Only paying SaaS organizations can have this. Talk to your sales representative.",
    "COMMITMENTS_NOT_ACCEPTED": "Read version {version} with `kept settings zdr commitments`, then accept each by name.",
    "INVITATION_INVALID": "Ask your admin for a new invitation: each works once, for seven days.",
    "SIGN_IN_FAILED": "Check e-mail and password; after failures wait a minute.",
    "LAST_ADMIN": "Make somebody else an admin first: `kept settings members role MEMBER admin`, or `kept settings members invite EMAIL "
    "--role admin`. To end the organization itself: `kept settings account delete`.",
    "WEAK_PASSWORD": "{advice}. Choose several words that do not belong together, or let a password manager choose.",
    "EMAIL_CHANGE_INVALID": "Ask for another token: `kept account email NEW`. Each works once, for an hour, for who asked.",
    "PASSWORD_RESET_INVALID": "Ask for another token: `kept account forgot EMAIL`. Each works once, for an hour.",
    "DEPLOYMENT_FIXED": "Erase the organization (its admin: `kept settings account delete`) and create it anew with the other deployment.",
    "TERMS_NOT_ACCEPTED": "Read version {version} with `kept settings terms show`, then accept each duty by name.",
    "CUSTOMERS_ONLY": "Deny the request, or have them ask again as a customer who is signed in.",
    "ASKED_TOO_OFTEN": "Nothing was stored: ask again later, or write to the contacts of `kept trust-center contacts`.",
    "LIMIT_REACHED": "There may be {limit} of them. End what is not used any more, or ask support.",
    # safety review
    "REVIEWER_EXCLUDED": "Leave it to a colleague: you had a part in this case before. `kept cases next` gives you another one.",
    "CONFLICT_OF_INTEREST": "Leave it to a colleague: you are affiliated with the organization. Where that is over, an operator ends it "
    "with `kept people affiliation end`.",
    "APPEAL_CLOSED": "Each case can be appealed once, within 30 days of its decision. `kept trust-center contacts` says whom to write to.",
    "REVIEW_BUDGET_EXHAUSTED": "Stop for today: {limit} cases within 24 hours are as many as one person takes.",
    "SET_TOO_SMALL": "Build the set of cases of more customers: each category needs {needed} organizations behind it.",
    "NOT_UPHELD": "Leave out what two people have not found to be a violation: `kept cases list --state upheld` shows what they have. "
    "What was upheld a moment ago is known everywhere in the next.",
    "SET_ENDED": "Build a new set: what has ended is gone, and its key with it. `kept safety sets` shows those that live.",
    "RULES_REFUSED": "Mend the rules at {where}: {problem}. Try the file with `kept detectors test --draft FILE`.",
    "RULES_CHANGED": "The service has the file with SHA-256 {sha256}. Read it, then reload that one; or have the one you mean deployed.",
}
