"""Operators: Olga takes somebody's role away, and gives it back with Omar; what rested on it is over for good."""

from kept.access_control.v1 import directory_pb2, directory_pb2_grpc
from kept.options.v1 import roles_pb2
from tests.simulation.scene import Scene

_ENGINEER = roles_pb2.STAFF_ROLE_ENGINEER


class Operators:
    """Both of them."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def takes_role(self) -> None:
        """Elias is no engineer any more, for a moment: every grant that he approved is over from then on."""
        roles = self._roles()
        if roles:
            request = directory_pb2.EndRoleRequest(role_assignment_id=roles[0][1])

            def taken() -> directory_pb2.EndRoleResponse:
                self._scene.power("olga", "omar", roles_pb2.POWER_ROLE_ASSIGNMENT)
                return self._directory("olga").EndRole(request)

            self._scene.world.leases("access_control", "access_control_2")
            answer = self._scene.world.attempt(taken)
            if isinstance(answer, directory_pb2.EndRoleResponse):
                for known in self._scene.model.grants.values():
                    if roles[0][0] in {approval.approved_by for approval in known.grant.approvals}:
                        known.revoked_at = known.revoked_at or self._scene.now
        self._gives_back()

    def _gives_back(self) -> None:
        with self._scene.world.quiet():  # how a role is given is not what this is about
            if self._roles():
                return
            (person_id,) = self._scene.world.databases.looks.rows(
                "access_control", "SELECT person_id FROM people WHERE email = 'elias@vendor.example'"
            )[0]
            self._scene.world.leases("access_control", "access_control_2")
            self._scene.power("olga", "omar", roles_pb2.POWER_ROLE_ASSIGNMENT)
            self._scene.power("omar", "olga", roles_pb2.POWER_ROLE_ASSIGNMENT)
            proposed = self._directory("olga").AssignRole(
                directory_pb2.AssignRoleRequest(person_id=person_id, role=_ENGINEER)
            )
            self._directory("omar").ConfirmRole(
                directory_pb2.ConfirmRoleRequest(
                    role_assignment_id=proposed.role_assignment.role_assignment_id
                )
            )

    def _roles(self) -> list[tuple[str, str]]:
        """Elias and his standing assignment, if there is one."""
        return self._scene.world.databases.looks.rows(
            "access_control",
            "SELECT person_id, role_assignment_id FROM role_assignments JOIN people USING (person_id) "
            f"WHERE email = 'elias@vendor.example' AND role = {_ENGINEER} AND ended_at IS NULL",
        )

    def _directory(self, name: str) -> directory_pb2_grpc.DirectoryServiceStub:
        return directory_pb2_grpc.DirectoryServiceStub(self._scene.world.person(name)("access_control"))
